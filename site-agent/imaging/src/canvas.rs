//! Pictures of volumes, pixel by pixel.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

/// Rows of pixels with red, green and blue; black at first.
pub(crate) struct Canvas {
    width: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            pixels: vec![0; 3 * width * height],
        }
    }

    pub(crate) fn set(&mut self, column: usize, row: usize, colour: [u8; 3]) {
        let at = 3 * (row * self.width + column);
        self.pixels[at..at + 3].copy_from_slice(&colour);
    }

    /// # Errors
    /// The picture has no pixels, or too many.
    pub(crate) fn png(&self) -> ImageResult<Vec<u8>> {
        let height = self.pixels.len() / (3 * self.width).max(1);
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes).write_image(
            &self.pixels,
            self.width as u32,
            height as u32,
            ExtendedColorType::Rgb8,
        )?;
        Ok(bytes)
    }
}
