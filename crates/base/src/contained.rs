//! Panics of others.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is at work that may panic.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives; none where it panics, without a word on stderr.
///
/// It is for crates that panic at damaged files: the caller says what is wrong, in its own words. `work` must leave nothing
/// half done that is used afterwards, and be that crate's alone: a fault of ours is not to pass for a damaged file.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                before(panic);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_gives_none_and_the_next_is_heard_again() {
        assert_eq!(contained(|| 3), Some(3));
        assert_eq!(contained(|| [1, 2][std::hint::black_box(7)]), None);
        assert!(!CONTAINED.get());
        assert_eq!(
            contained(|| contained(|| panic!("inner")).is_none().then(|| CONTAINED.get())),
            Some(Some(true))
        );
    }
}
