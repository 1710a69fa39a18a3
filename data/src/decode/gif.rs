//! The first frame of GIF images, on its canvas as PIL shows it.

use gif::{ColorOutput, DecodeOptions, Decoder, MemoryLimit};

use super::picture::{Picture, Pixels};

type Reader<'a> = Decoder<&'a [u8]>;

fn open(bytes: &[u8], most_bytes: u64) -> Result<Reader<'_>, String> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(most_bytes.try_into().unwrap_or(std::num::NonZeroU64::MIN)));
    options.read_info(bytes).map_err(|error| broken(&error))
}

fn broken(error: &gif::DecodingError) -> String {
    format!("it cannot be decoded ({error})")
}

/// Height and width of the canvas, which grows where the first frame leaves it, and the colours of that frame.
fn first_frame(reader: &mut Reader) -> Result<([usize; 2], Vec<u8>), String> {
    let (width, height) = (usize::from(reader.width()), usize::from(reader.height()));
    let global = reader.global_palette().map(<[u8]>::to_vec);
    let frame = reader.next_frame_info().map_err(|error| broken(&error))?.ok_or("it holds no image")?;
    let end = |start: u16, length: u16| usize::from(start) + usize::from(length);
    let size = [height.max(end(frame.top, frame.height)), width.max(end(frame.left, frame.width))];
    if size.contains(&0) {
        return Err("its header says no pixels".into());
    }
    Ok((size, frame.palette.clone().or(global).unwrap_or_default()))
}

/// Whether a palette holds anything but each index as a level of grey, as PIL asks.
fn is_coloured(palette: &[u8]) -> bool {
    palette.as_chunks::<3>().0.iter().enumerate().any(|(index, colour)| *colour != [index as u8; 3])
}

/// Height and width, and whether there is colour.
pub(super) fn header(bytes: &[u8], most_bytes: u64) -> Result<([usize; 2], bool), String> {
    let (size, palette) = first_frame(&mut open(bytes, most_bytes)?)?;
    Ok((size, is_coloured(&palette)))
}

/// Decodes the first frame; [`header`] has been asked about its size. Where the frame leaves its canvas uncovered there is
/// the transparent colour, or else the palette's first.
pub(super) fn decode(bytes: &[u8], most_bytes: u64) -> Result<Picture, String> {
    let mut reader = open(bytes, most_bytes)?;
    let ([height, width], palette) = first_frame(&mut reader)?;
    let mut indices = vec![0; reader.buffer_size()];
    reader.read_into_buffer(&mut indices).map_err(|error| broken(&error))?;
    let frame = reader.current_frame_info().ok_or("it holds no image")?;
    let mut canvas = vec![frame.transparent.unwrap_or(0); height * width];
    let (top, left, wide) = (usize::from(frame.top), usize::from(frame.left), usize::from(frame.width));
    if wide > 0 {
        for (row, indices) in indices.chunks_exact(wide).enumerate() {
            canvas[(top + row) * width + left..][..wide].copy_from_slice(indices);
        }
    }
    let pixels = if is_coloured(&palette) {
        let colours = palette.as_chunks::<3>().0;
        let colour = |index: u8| colours.get(usize::from(index)).copied().unwrap_or_default();
        Pixels::Rgb(canvas.into_iter().flat_map(colour).collect())
    } else {
        Pixels::Grey(canvas)
    };
    Ok(Picture { width, height, pixels })
}
