//! The part of a grid that matters, so that no work is done on empty space.

/// A box in a grid: for each axis the first voxel and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first voxel along depth, height and width.
    pub origin: [usize; 3],
    /// How many voxels.
    pub dims: [usize; 3],
}

impl Window {
    /// The smallest window that holds every voxel of `dims` for which `inside` is true; `None`
    /// without any.
    #[must_use]
    pub fn around(dims: [usize; 3], inside: impl Fn(usize) -> bool) -> Option<Self> {
        let [depth, height, width] = dims;
        let mut found: Option<[[usize; 2]; 3]> = None;
        for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
            let row = (z * height + y) * width;
            let Some(first) = (0..width).find(|x| inside(row + x)) else {
                continue;
            };
            let last = (first..width).rfind(|x| inside(row + x)).unwrap_or(first);
            let [zs, ys, xs] = found.get_or_insert([[z, z], [y, y], [first, last]]);
            *zs = [zs[0].min(z), zs[1].max(z)];
            *ys = [ys[0].min(y), ys[1].max(y)];
            *xs = [xs[0].min(first), xs[1].max(last)];
        }
        found.map(|ends| Self {
            origin: ends.map(|[from, _]| from),
            dims: ends.map(|[from, to]| to + 1 - from),
        })
    }

    /// The window with `margin` more voxels on every side, as far as a grid of `dims` goes.
    #[must_use]
    pub fn grown(&self, margin: usize, dims: [usize; 3]) -> Self {
        let origin = self.origin.map(|from| from.saturating_sub(margin));
        let end = |axis: usize| (self.origin[axis] + self.dims[axis] + margin).min(dims[axis]);
        Self {
            origin,
            dims: [0, 1, 2].map(|axis| end(axis) - origin[axis]),
        }
    }

    /// The smallest window that holds both.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let origin = [0, 1, 2].map(|axis| self.origin[axis].min(other.origin[axis]));
        let end = |window: &Self, axis: usize| window.origin[axis] + window.dims[axis];
        Self {
            origin,
            dims: [0, 1, 2].map(|axis| end(self, axis).max(end(other, axis)) - origin[axis]),
        }
    }

    /// The rows of the window, in order, as ranges of voxel indices of a grid of `dims`.
    pub fn rows(&self, dims: [usize; 3]) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let Self {
            origin: [z, y, x],
            dims: [depth, height, width],
        } = *self;
        (z..z + depth).flat_map(move |z| {
            (y..y + height).map(move |y| {
                let start = (z * dims[1] + y) * dims[2] + x;
                start..start + width
            })
        })
    }

    /// The window's voxels of a volume on a grid of `dims`.
    #[must_use]
    pub fn cut<T: Copy>(&self, volume: &[T], dims: [usize; 3]) -> Vec<T> {
        self.rows(dims)
            .flat_map(|row| volume[row].iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_is_inside_and_grows_no_further_than_the_grid() {
        let mut mask = [0u8; 24];
        (mask[5], mask[22]) = (1, 1);
        let dims = [2, 3, 4];
        let window = Window::around(dims, |i| mask[i] != 0).unwrap();
        assert_eq!(
            window,
            Window {
                origin: [0, 1, 1],
                dims: [2, 2, 2]
            }
        );
        assert_eq!(window.cut(&mask, dims), [1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            window.grown(1, dims),
            Window {
                origin: [0, 0, 0],
                dims: [2, 3, 4]
            }
        );
        assert_eq!(Window::around(dims, |_| false), None);
    }

    #[test]
    fn two_windows_joined_hold_both() {
        let one = Window {
            origin: [0, 5, 2],
            dims: [1, 1, 1],
        };
        let other = Window {
            origin: [3, 1, 2],
            dims: [2, 2, 7],
        };
        assert_eq!(
            one.joined(&other),
            Window {
                origin: [0, 1, 2],
                dims: [5, 5, 7]
            }
        );
    }
}
