//! The area of surface at a corner, by which of its eight voxels are lesion.

/// Area by code: bit `4 z + 2 y + x` says whether the voxel on that side of the corner is lesion.
pub(super) struct Areas([f64; 256]);

/// One way in which a surface can pass a corner. Turned, mirrored and with lesion and other
/// swapped, these are all.
///
/// The area is that of the triangles of marching cubes, each of whose normals lies along an axis,
/// between two axes or between all three: lengths of the sum by direction, for voxels of unit size.
struct Pass {
    code: u8,
    /// Along (1, 1, 1).
    diagonal: f64,
    /// Along (0, 1, 1), (1, 0, 1), (1, 1, 0).
    between: [f64; 3],
    /// Along depth, height, width.
    along: [f64; 3],
}

const fn pass(code: u8, diagonal: f64, between: [f64; 3], along: [f64; 3]) -> Pass {
    Pass {
        code,
        diagonal,
        between,
        along,
    }
}

const NO: [f64; 3] = [0.0; 3];

const PASSES: [Pass; 13] = [
    // One voxel; two that share an edge of the corner's cube, a face's diagonal, the cube's
    // diagonal.
    pass(0b0000_0001, 0.125, NO, NO),
    pass(0b0000_0011, 0.0, [0.0, 0.0, 0.5], NO),
    pass(0b0000_0110, 0.25, NO, NO),
    pass(0b0001_1000, 0.25, NO, NO),
    // Three: an L on a face, a pair and one opposite, none adjacent.
    pass(0b0000_0111, 0.375, NO, [0.5, 0.0, 0.0]),
    pass(0b0001_1001, 0.125, [0.5, 0.0, 0.0], NO),
    pass(0b0001_0110, 0.375, NO, NO),
    // Four: a face, a corner with its three neighbours, a path around the corner, an L and one
    // apart, two pairs, none adjacent.
    pass(0b0000_1111, 0.0, NO, [1.0, 0.0, 0.0]),
    pass(0b0001_0111, 0.75, NO, NO),
    pass(0b0001_1011, 0.5, [0.25, 0.25, 0.0], NO),
    pass(0b0001_1110, 0.5, NO, [0.5, 0.0, 0.0]),
    pass(0b0011_1100, 0.0, [0.0, 0.0, 1.0], NO),
    pass(0b0110_1001, 0.5, NO, NO),
];

const TURNS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

impl Areas {
    /// For voxels `spacing_mm` apart along depth, height and width.
    pub(super) fn new(spacing_mm: [f64; 3]) -> Self {
        let [z, y, x] = spacing_mm;
        // The area of a unit triangle with its normal along each axis, in voxels of this size.
        let face = [y * x, z * x, z * y];
        let mut areas = [0.0; 256];
        for pass in &PASSES {
            for (turn, mirror) in TURNS
                .iter()
                .flat_map(|turn| (0..8).map(move |mirror| (turn, mirror)))
            {
                let code = moved(pass.code, turn, mirror);
                let area = pass.area(turn, face);
                areas[usize::from(code)] = area;
                areas[usize::from(!code)] = area;
            }
        }
        Self(areas)
    }

    pub(super) fn of(&self, code: u8) -> f64 {
        self.0[usize::from(code)]
    }
}

impl Pass {
    /// The area after the axes were turned, so that new axis `a` is old axis `turn[a]`.
    fn area(&self, turn: &[usize; 3], face: [f64; 3]) -> f64 {
        let length = |parts: [f64; 3]| parts.iter().map(|part| part * part).sum::<f64>().sqrt();
        let mut area = self.diagonal * length(face);
        for axis in 0..3 {
            let mut across = face;
            across[axis] = 0.0;
            area += self.between[turn[axis]] * length(across) + self.along[turn[axis]] * face[axis];
        }
        area
    }
}

/// The code after turning the axes and mirroring those whose bit is set in `mirror`.
fn moved(code: u8, turn: &[usize; 3], mirror: usize) -> u8 {
    let bit = |voxel: usize, axis: usize| voxel >> (2 - axis) & 1;
    let mut result = 0;
    for voxel in (0..8).filter(|voxel| code >> voxel & 1 == 1) {
        let place = |axis: usize| (bit(voxel, turn[axis]) ^ bit(mirror, axis)) << (2 - axis);
        result |= 1 << (place(0) | place(1) | place(2));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_but_empty_and_full_has_an_area() {
        let areas = Areas::new([3.0, 1.0, 0.5]);
        assert_eq!((areas.of(0), areas.of(255)), (0.0, 0.0));
        assert!((1..255).all(|code| areas.of(code) > 0.0));
    }

    #[test]
    fn a_flat_face_has_the_area_of_a_voxels_face() {
        let areas = Areas::new([3.0, 2.0, 0.5]);
        // Bits 4 z + 2 y + x: the lower half, the front half, the left half.
        assert_eq!(areas.of(0b0000_1111), 2.0 * 0.5);
        assert_eq!(areas.of(0b0011_0011), 3.0 * 0.5);
        assert_eq!(areas.of(0b0101_0101), 3.0 * 2.0);
    }
}
