//! A request to stop is no signal. Signals are those of the whole process, which is this test's alone.
#![cfg(feature = "terminal")]

use std::thread;
use std::time::Duration;

use ddae_base::{Stop, stop};
use signal_hook::consts::SIGINT;

/// The first signal would end the test otherwise.
#[test]
fn a_request_does_not_make_the_first_signal_the_second() {
    stop::listen();
    let stop = Stop::on_signal(None);
    stop.request();
    signal_hook::low_level::raise(SIGINT).expect("a signal");
    while stop::exit_code().is_none() {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(50));
    assert_eq!((stop::exit_code(), stop.is_requested()), (Some(130), true));
}
