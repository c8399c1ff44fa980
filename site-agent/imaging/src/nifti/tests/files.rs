//! Files as disks, tapes and transfers leave them.

use super::*;

/// A header that asks for `side`^2 voxels of one byte, packed with that many zeros, and `more`
/// bytes behind them.
fn zeros(side: usize, more: usize) -> Vec<u8> {
    let mut head = FILE[..352].to_vec();
    head[40..48].copy_from_slice(
        &[3, side as i16, side as i16, 1]
            .map(i16::to_le_bytes)
            .concat(),
    );
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, &head).unwrap();
    let block = vec![0; 1 << 20];
    let mut left = side * side + more;
    while left > 0 {
        let part = left.min(block.len());
        std::io::Write::write_all(&mut packer, &block[..part]).unwrap();
        left -= part;
    }
    packer.finish().unwrap()
}

#[test]
fn padding_and_members_after_a_good_stream_are_read_as_gzip_reads_them() {
    let good = packed(&FILE);
    let plain = parse(&FILE).unwrap();
    let halves = [packed(&FILE[..200]), packed(&FILE[200..])];
    let spaced = [&halves[0][..], &[0; 3], &halves[1]].concat();
    for (what, file) in [
        ("zeros", [&good[..], &[0; 512]].concat()),
        ("one zero", [&good[..], &[0]].concat()),
        ("many zeros", [&good[..], &vec![0; 1 << 18]].concat()),
        ("members", halves.concat()),
        ("members apart", spaced),
        ("an end marker", [good.clone(), packed(&[])].concat()),
        ("another file", [good.clone(), packed(b"more")].concat()),
    ] {
        assert_eq!(parse(&file).unwrap(), plain, "{what}");
    }
}

#[test]
fn junk_after_a_good_stream_is_warned_about_and_before_the_voxels_end_refused() {
    let good = packed(&FILE);
    for junk in [&b"\nEOF\n"[..], b"\0\0\0x", b"PK"] {
        let volume = parse(&[&good, junk].concat()).unwrap();
        assert_eq!(
            (volume.values, volume.warnings),
            (vec![3.0; 60], vec![Warning::Junk])
        );
    }
    let half = [&packed(&FILE[..380]), &b"\nEOF\n"[..]].concat();
    assert!(matches!(
        parse(&half),
        Err(NiftiError::Truncated {
            expected: 412,
            found: 380
        })
    ));
    // Another member begins and is cut.
    let cut = [&good[..], &packed(b"more")[..12]].concat();
    assert!(matches!(parse(&cut), Err(NiftiError::Unfinished)));
}

#[test]
fn a_wrong_checksum_is_found_however_much_follows_the_voxels() {
    for more in [0, 10, 70 << 20] {
        let mut file = zeros(16, more);
        assert!(parse(&file).is_ok(), "{more}");
        let checksum = file.len() - 8;
        file[checksum] ^= 1;
        let refused = parse(&file).unwrap_err();
        assert!(
            matches!(refused, NiftiError::Damaged(_)),
            "{more}: {refused}"
        );
    }
    assert!(matches!(
        parse(&zeros(16, (1 << 30) + 1)),
        Err(NiftiError::Tail(_))
    ));
}

#[test]
fn what_follows_the_voxels_of_a_plain_file_is_said_and_neither_read_nor_hashed_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.nii");
    std::fs::write(&path, &*FILE).unwrap();
    let (plain, short) = (read(&path).unwrap(), hash(&path).unwrap());
    // Sparse: three gigabytes of nothing.
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(3 << 30)
        .unwrap();
    let (once, long) = (read(&path).unwrap(), hash(&path).unwrap());
    assert_eq!(once.values, plain.values);
    assert_eq!(once.warnings, [crate::nifti::Warning::Longer]);
    assert_ne!(short, long, "a byte more may decide where the voxels begin");
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    assert_eq!(hash(&path).unwrap(), long);
    let mut other = FILE.clone();
    other[400] = 9;
    std::fs::write(&path, &other).unwrap();
    assert_ne!(hash(&path).unwrap(), short);
}

#[test]
fn a_folder_or_a_missing_file_is_an_error_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read(folder.path()), Err(NiftiError::Io(_))));
    assert!(matches!(
        hash(&folder.path().join("none")),
        Err(NiftiError::Io(_))
    ));
}

proptest! {
    #[test]
    fn a_file_in_any_members_with_any_padding_reads_the_same(
        cuts in prop::collection::vec(0usize..412, 0..5), zeros in prop::collection::vec(0usize..40, 6),
    ) {
        let mut cuts = cuts;
        cuts.extend([0, FILE.len()]);
        cuts.sort_unstable();
        let mut file = Vec::new();
        for (pair, zeros) in cuts.windows(2).zip(&zeros) {
            file.extend(packed(&FILE[pair[0]..pair[1]]));
            file.extend(vec![0; *zeros]);
        }
        prop_assert_eq!(parse(&file).unwrap(), parse(&FILE).unwrap());
    }
}
