//! Pictures as files: PNG for the site's own folder, and a JPEG that fits a frame for the
//! coordinator.

use super::OverlayError;
use super::paint::{Canvas, SIDE, panels};
use super::slice::Slice;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};
use protocol::jpeg::Picture;

/// JPEG qualities that are tried at each size, the best first. Below the last, colours bleed over
/// outlines.
const QUALITIES: [u8; 4] = [90, 80, 70, 60];
/// Sizes that are tried, as pixels of a panel's longer side.
const SIDES: [usize; 4] = [SIDE, 3 * SIDE / 4, SIDE / 2, SIDE / 4];

/// A picture without loss.
pub(super) fn png(canvas: &Canvas) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    write(PngEncoder::new(&mut bytes), canvas)?;
    Ok(bytes)
}

/// The largest and best picture of a slice that a message can carry; the same slice gives the same
/// bytes.
pub(super) fn fitted(slice: &Slice, case: u32) -> Result<Picture, OverlayError> {
    for side in SIDES {
        let canvas = panels(slice, side);
        for quality in QUALITIES {
            let mut bytes = Vec::new();
            write(JpegEncoder::new_with_quality(&mut bytes, quality), &canvas)?;
            if let Ok(picture) = Picture::new(bytes) {
                return Ok(picture);
            }
        }
    }
    Err(OverlayError::Large { case })
}

fn write(encoder: impl ImageEncoder, canvas: &Canvas) -> ImageResult<()> {
    encoder.write_image(
        &canvas.pixels,
        canvas.width as u32,
        canvas.height as u32,
        ExtendedColorType::Rgb8,
    )
}

#[cfg(test)]
mod tests {
    use super::super::slice::Call;
    use super::*;
    use protocol::codec::{MAX_PAYLOAD, encode};
    use protocol::jpeg::MAX_BYTES;
    use protocol::message::{RunId, SiteMessage, TaskId, TaskKind};
    use protocol::overlay::Overlay;

    /// A square slice whose voxels are all of one kind, or of noise.
    fn slice(noise: bool) -> Slice {
        let side = 200;
        let value = |at: usize| {
            if noise {
                (at * 2_654_435_761 % 1009) as f32 / 1009.0
            } else {
                0.5
            }
        };
        let calls = [
            Call::Neither,
            Call::TruePositive,
            Call::FalsePositive,
            Call::FalseNegative,
        ];
        Slice {
            index: 0,
            sequence: 0,
            dims: [side, side],
            spacing_mm: [1.0, 1.0],
            grey: (0..side * side).map(value).collect(),
            brain: vec![1; side * side],
            probability: (0..side * side).map(|at| value(at + 7)).collect(),
            threshold: 0.5,
            calls: (0..side * side)
                .map(|at| {
                    calls[if noise {
                        (value(at) * 3.99) as usize
                    } else {
                        0
                    }]
                })
                .collect(),
        }
    }

    fn sides(picture: &Picture) -> (u32, u32) {
        let image = image::load_from_memory(picture.bytes()).unwrap();
        (image.width(), image.height())
    }

    #[test]
    fn even_noise_fits_a_frame_and_a_plain_slice_keeps_its_size() {
        let (plain, noisy) = (
            fitted(&slice(false), 0).unwrap(),
            fitted(&slice(true), 0).unwrap(),
        );
        assert_eq!(sides(&plain), (2 * SIDE as u32 + 8, SIDE as u32));
        assert!(sides(&noisy).1 < SIDE as u32 && noisy.bytes().len() <= MAX_BYTES);
        assert_eq!(
            fitted(&slice(true), 0).unwrap(),
            noisy,
            "the same slice gives the same bytes"
        );
        let task = TaskId {
            run: RunId(0),
            round: u32::MAX,
            kind: TaskKind::Train,
            pass: 1,
        };
        let message = SiteMessage::Overlay {
            task,
            overlay: Overlay {
                case: u32::MAX,
                picture: noisy,
            },
        };
        assert!(encode(&message).unwrap().len() < MAX_PAYLOAD);
    }

    #[test]
    fn the_sites_own_picture_loses_nothing() {
        let canvas = panels(&slice(true), SIDE);
        let read = image::load_from_memory(&png(&canvas).unwrap())
            .unwrap()
            .into_rgb8();
        assert_eq!(read.into_raw(), canvas.pixels);
    }
}
