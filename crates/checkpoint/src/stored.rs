//! A tensor in a file: where its elements are, checked when the file is opened and read when they are asked for.

use std::ops::Range;

use super::element::{ElementType, Order, decode};
use ddae_model::tensor::Tensor;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    name: String,
    element: ElementType,
    shape: Vec<usize>,
    /// Steps between neighbours along each axis, in elements; none when they follow one another in row-major order.
    strides: Option<Vec<usize>>,
    /// The file among those of the checkpoint.
    pub(super) file: usize,
    /// The bytes of the file from its first element to the end of its last.
    bytes: Range<usize>,
}

/// A storage: a run of elements in a file that one or several tensors look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    /// The element type.
    pub element: ElementType,
    /// Where in the file it begins, in bytes.
    pub start: usize,
    /// Number of elements.
    pub length: usize,
}

/// What of a storage a tensor looks at, as PyTorch counts: in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The first element.
    pub offset: usize,
    /// The sizes.
    pub shape: Vec<usize>,
    /// Steps between neighbours along each axis.
    pub strides: Vec<usize>,
}

impl StoredTensor {
    /// A tensor of row-major elements that fill `bytes`.
    pub(super) fn dense(
        name: String,
        element: ElementType,
        shape: &[usize],
        bytes: Range<usize>,
    ) -> StoredTensor {
        StoredTensor { name, element, shape: shape.to_vec(), strides: None, file: 0, bytes }
    }

    /// A tensor that looks at a storage.
    ///
    /// # Errors
    /// When it would look beyond the storage's end, or a size overflows.
    pub(super) fn viewing(name: String, storage: Storage, view: View) -> Result<StoredTensor, String> {
        let View { offset, shape, strides } = view;
        let beyond =
            || format!("says that '{name}' {shape:?} lies outside its storage of {} values", storage.length);
        // The distance from the first element to one after the last.
        let extent = match shape.contains(&0) {
            true => Some(0),
            false => shape
                .iter()
                .zip(&strides)
                .try_fold(1usize, |extent, (&size, &step)| extent.checked_add((size - 1).checked_mul(step)?)),
        };
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let end = extent.and_then(|extent| offset.checked_add(extent)).filter(|&end| end <= storage.length);
        let (Some(end), Some(_), Some(size), true) =
            (end, count, storage.element.size(), shape.len() == strides.len())
        else {
            return Err(beyond());
        };
        let strides = (!is_row_major(&shape, &strides)).then_some(strides);
        let bytes = storage.start + offset * size..storage.start + end * size;
        Ok(StoredTensor { name, element: storage.element, shape, strides, file: 0, bytes })
    }

    /// The same tensor in another of the checkpoint's files.
    pub(super) fn in_file(self, file: usize) -> StoredTensor {
        StoredTensor { file, ..self }
    }

    /// The same tensor under another name.
    pub(super) fn named(self, name: String) -> StoredTensor {
        StoredTensor { name, ..self }
    }

    /// Whether it is the same elements of the same bytes as another, whatever their names.
    pub(super) fn is_same_as(&self, other: &StoredTensor) -> bool {
        (self.file, &self.bytes, self.element, &self.shape, &self.strides)
            == (other.file, &other.bytes, other.element, &other.shape, &other.strides)
    }

    /// Its name: the path of keys to it, joined with dots.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its element type.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Its sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn bytes(&self) -> Range<usize> {
        self.bytes.clone()
    }

    /// Its elements, from the bytes of its file: at most `most`, where it repeats those of its storage (`expand`).
    ///
    /// # Errors
    /// When its type is not read, or it has more elements than its storage and than `most`: a small file could take any
    /// amount of memory.
    pub(super) fn read(&self, file: &[u8], most: usize) -> Result<Tensor, String> {
        let unread = || format!("holds '{}' as {}, a type that is not read", self.name, self.element);
        let damaged = || format!("ends before '{}' does", self.name);
        let bytes = file.get(self.bytes.clone()).ok_or_else(damaged)?;
        let stored = bytes.len() / self.element.size().ok_or_else(unread)?;
        let order = match &self.strides {
            None => Order::Dense(self.count()),
            Some(strides) => Order::Strided { shape: &self.shape, strides },
        };
        if self.count() > stored.max(most) {
            let count = self.count();
            return Err(format!(
                "holds '{}' as {count} values made of {stored} by repetition: not read",
                self.name
            ));
        }
        let data = decode(self.element, bytes, order).ok_or_else(unread)?;
        Tensor::new(&self.shape, data).ok_or_else(damaged)
    }
}

/// Whether the elements follow one another; the step along an axis of one element means nothing.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().all(|(&size, &step)| {
            let fits = size == 1 || step == expected;
            expected *= size;
            fits
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddae_model::tensor::Data;

    const STORAGE: Storage = Storage { element: ElementType::U8, start: 2, length: 6 };
    const FILE: [u8; 8] = [90, 91, 0, 1, 2, 3, 4, 5];

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> Result<StoredTensor, String> {
        let view = View { offset, shape: shape.to_vec(), strides: strides.to_vec() };
        StoredTensor::viewing("w".to_string(), STORAGE, view)
    }

    #[test]
    fn views_of_a_storage_are_read() {
        let read = |offset, shape: &[usize], strides: &[usize]| {
            let tensor = view(offset, shape, strides).expect("inside").read(&FILE, 0).expect("readable");
            assert_eq!(tensor.shape(), shape);
            tensor.into_data()
        };
        assert_eq!(read(0, &[2, 3], &[3, 1]), Data::U8(vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(read(1, &[2, 2], &[3, 1]), Data::U8(vec![1, 2, 4, 5]));
        assert_eq!(read(0, &[3, 2], &[1, 3]), Data::U8(vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(read(5, &[1], &[usize::MAX]), Data::U8(vec![5]));
        assert_eq!(read(6, &[0, 7], &[1, 1]), Data::U8(vec![]));
        assert_eq!(read(3, &[], &[]), Data::U8(vec![3]));
    }

    #[test]
    fn what_lies_outside_is_refused_when_the_file_is_opened() {
        let refused = |offset, shape: &[usize], strides: &[usize]| {
            let message = view(offset, shape, strides).expect_err("outside");
            assert!(message.contains("'w'") && message.contains("its storage of 6 values"), "{message}");
        };
        refused(1, &[2, 3], &[3, 1]);
        refused(7, &[0], &[1]);
        refused(0, &[2], &[usize::MAX]);
        refused(usize::MAX, &[2], &[1]);
        refused(0, &[usize::MAX, usize::MAX], &[0, 0]);
        refused(0, &[2, 3], &[1]);
    }

    #[test]
    fn repeated_elements_are_expanded_within_a_bound() {
        let tensor = view(4, &[2, 3], &[1, 0]).expect("inside");
        assert!(tensor.read(&FILE, 5).is_err());
        let data = tensor.read(&FILE, 6).expect("few").into_data();
        assert_eq!(data, Data::U8(vec![4, 4, 4, 5, 5, 5]));
        let tensor = view(0, &[1 << 40], &[0]).expect("inside");
        let message = tensor.read(&FILE, 1 << 20).expect_err("too large");
        assert_eq!(message, "holds 'w' as 1099511627776 values made of 1 by repetition: not read");
    }
}
