//! Windows over images `[B,C,H,W]`, and other sizes of them.

use super::Built;
use crate::graph::{Graph, Op, Value, Window};

impl Graph {
    /// Each pixel repeated `factor` times along both axes.
    pub fn upsample_nearest(&mut self, x: Value, factor: usize) -> Built {
        let [_, height, width] = self.image("UpsampleNearest", x)?;
        let shape = self.shape(x).with(2, height * factor).with(3, width * factor);
        self.add_node(Op::UpsampleNearest { factor }, &[x], shape)
    }

    /// Mean of non-overlapping `kernel` x `kernel` squares.
    pub fn avg_pool(&mut self, x: Value, kernel: usize) -> Built {
        let [_, height, width] = self.image("AvgPool", x)?;
        if kernel == 0 || height % kernel != 0 || width % kernel != 0 {
            return self.fail("AvgPool", format!("{height}x{width} is no multiple of {kernel}x{kernel}"));
        }
        self.avg_pool_window(x, Window { kernel, stride: kernel, padding: 0 }, false)
    }

    /// Mean of each window; the padding counts, as zeros, where `count_include_pad`.
    pub fn avg_pool_window(&mut self, x: Value, window: Window, count_include_pad: bool) -> Built {
        self.windows(Op::AvgPool { window, count_include_pad }, x, window)
    }

    /// The largest pixel of each window.
    pub fn max_pool(&mut self, x: Value, window: Window) -> Built {
        self.windows(Op::MaxPool(window), x, window)
    }

    fn windows(&mut self, op: Op, x: Value, window: Window) -> Built {
        self.want_f32(op.name(), x)?;
        let [_, height, width] = self.image(op.name(), x)?;
        let Window { kernel, stride, padding } = window;
        if kernel == 0 || stride == 0 || 2 * padding > kernel {
            let message = format!(
                "windows of {window}: kernel and stride must be at least 1, and the padding at most half the kernel"
            );
            return self.fail(op.name(), message);
        }
        if height.min(width) + 2 * padding < kernel {
            return self.fail(op.name(), format!("windows of {window} do not fit {height}x{width}"));
        }
        let count = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        let shape = self.shape(x).with(2, count(height)).with(3, count(width));
        self.add_node(op, &[x], shape)
    }

    /// Each image in another size, between the four nearest pixels: `torch.nn.functional.interpolate(x, [height,
    /// width], mode="bilinear", align_corners=False)`.
    pub fn resize_bilinear(&mut self, x: Value, height: usize, width: usize) -> Built {
        self.want_f32("ResizeBilinear", x)?;
        let [_, from_height, from_width] = self.image("ResizeBilinear", x)?;
        if [height, width, from_height, from_width].contains(&0) {
            let message = format!("{from_height}x{from_width} cannot become {height}x{width}");
            return self.fail("ResizeBilinear", message);
        }
        let shape = self.shape(x).with(2, height).with(3, width);
        self.add_node(Op::ResizeBilinear { height, width }, &[x], shape)
    }
}
