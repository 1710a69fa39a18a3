//! How a file of numpy's format begins.

/// Everything before the first value of an array in C order. `kind` is numpy's word for the type, such as `<f4`.
pub(crate) fn header(kind: &str, shape: &[usize]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    let sides = if let [side] = sides.as_slice() { format!("{side},") } else { sides.join(", ") };
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic, version and length take 10 bytes; the array begins at a multiple of 64.
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    text.push_str(&" ".repeat(length - text.len() - 1));
    text.push('\n');
    // The dictionary with a few numbers of at most 20 digits is far from the 65,535 that fit.
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(text.into_bytes());
    header
}
