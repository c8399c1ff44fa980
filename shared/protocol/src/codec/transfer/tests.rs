use super::*;
use crate::message::{RunId, TaskId, TaskKind};
use proptest::prelude::*;

fn header(content: &[u8]) -> TransferHeader {
    TransferHeader {
        parameters: ParametersId(*blake3::hash(content).as_bytes()),
        bytes: content.len() as u64,
        task: TaskId {
            run: RunId(0),
            round: 1,
            kind: TaskKind::Train,
            pass: 0,
        },
    }
}

fn hash(index: u64, bytes: u64, chunk: &[u8]) -> [u8; HASH] {
    let mut hash = ChunkHash::new(index, bytes);
    chunk.chunks(1000).for_each(|piece| hash.update(piece));
    hash.finish()
}

const PIECE: usize = 100_000;

/// Receives `content` under `header`, the first `kept` chunks from an earlier transfer.
fn run(
    header: TransferHeader,
    expected: u64,
    content: &[u8],
    kept: usize,
) -> Result<Arrived, TransferError> {
    let mut receiving = Receiving::begin(header, expected)?;
    receiving
        .resume(&mut &content[..], (kept * CHUNK) as u64)
        .unwrap();
    for (index, chunk) in content
        .chunks(CHUNK)
        .enumerate()
        .skip(receiving.done().div_ceil(CHUNK as u64) as usize)
    {
        chunk
            .chunks(PIECE)
            .try_for_each(|piece| receiving.take(piece))?;
        receiving.seal(&hash(index as u64, header.bytes, chunk))?;
    }
    receiving.finish()
}

#[test]
fn another_length_than_the_models_is_refused_at_the_header() {
    let content = [1; 40];
    let refused = run(header(&content), 44, &content, 0);
    assert_eq!(
        refused,
        Err(TransferError::Length {
            expected: 44,
            announced: 40
        })
    );
}

#[test]
fn a_chunk_that_is_not_its_hash_is_refused_by_number() {
    let content = vec![7; CHUNK + 4];
    let mut receiving = Receiving::begin(header(&content), content.len() as u64).unwrap();
    let bytes = content.len() as u64;
    receiving.take(&content[..CHUNK]).unwrap();
    receiving.seal(&hash(0, bytes, &content[..CHUNK])).unwrap();
    assert_eq!((receiving.due(), receiving.done()), (4, CHUNK as u64));
    receiving.take(&[7, 7, 7, 8]).unwrap();
    // A sound chunk is not sound at another chunk's place.
    for wrong in [hash(1, bytes, &[7; 4]), hash(2, bytes, &[7, 7, 7, 8])] {
        assert_eq!(
            receiving.seal(&wrong),
            Err(TransferError::Corrupted { index: 1 })
        );
    }
    assert_eq!(
        receiving.done(),
        CHUNK as u64,
        "what is not sealed is not done"
    );
}

#[test]
fn sound_chunks_of_other_parameters_are_refused_at_the_end() {
    let refused = run(header(&[1; 8]), 8, &[2; 8], 0);
    assert!(
        matches!(refused, Err(TransferError::Content { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_chunk_too_long_a_chunk_too_many_and_an_early_end_are_refused() {
    let content = [3; 8];
    let mut receiving = Receiving::begin(header(&content), 8).unwrap();
    assert_eq!(
        receiving.take(&[3; 9]),
        Err(TransferError::Chunk {
            expected: 8,
            found: 9
        })
    );
    receiving.take(&content[..4]).unwrap();
    let early = receiving.seal(&hash(0, 8, &content[..4]));
    assert_eq!(
        early,
        Err(TransferError::Chunk {
            expected: 8,
            found: 4
        })
    );
    receiving.take(&content[4..]).unwrap();
    receiving.seal(&hash(0, 8, &content)).unwrap();
    assert_eq!(
        receiving.take(&[]),
        Err(TransferError::Chunk {
            expected: 0,
            found: 0
        })
    );
    assert_eq!(
        receiving.seal(&hash(1, 8, &[])),
        Err(TransferError::Chunk {
            expected: 0,
            found: 0
        })
    );
    assert_eq!(
        run(header(&content), 8, &[], 0),
        Err(TransferError::Short { missing: 8 })
    );
}

#[test]
fn what_was_kept_is_not_asked_for_again_and_damage_to_it_shows_at_the_end() {
    let content: Vec<u8> = (0..2 * CHUNK + 12).map(|at| (at / 7) as u8).collect();
    let mut receiving = Receiving::begin(header(&content), content.len() as u64).unwrap();
    // Half a chunk more is there, and of no use.
    receiving
        .resume(&mut &content[..], CHUNK as u64 * 3 / 2)
        .unwrap();
    assert_eq!(
        receiving.answer(),
        TransferAnswer::Wanted { from: CHUNK as u64 }
    );
    let mut damaged = content.clone();
    damaged[9] ^= 1;
    assert_eq!(
        run(header(&content), content.len() as u64, &damaged, 1),
        Err(TransferError::Stale)
    );
}

#[test]
fn the_first_value_that_is_no_number_is_known_by_its_index() {
    let mut content: Vec<u8> = vec![0; CHUNK + 16];
    let at = CHUNK / 4 + 2;
    for (index, value) in [(at, f32::NAN), (at + 1, f32::INFINITY)] {
        content[index * 4..index * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }
    let arrived = run(header(&content), content.len() as u64, &content, 0).unwrap();
    assert_eq!(arrived.not_finite(), Some(at as u64));
    assert_eq!(
        run(header(&[0; 8]), 8, &[0; 8], 0).unwrap().not_finite(),
        None
    );
}

#[test]
fn a_sender_goes_on_between_two_chunks_only_and_believes_only_its_own_parameters() {
    let header = TransferHeader {
        bytes: 2 * CHUNK as u64 + 4,
        ..header(&[1; 8])
    };
    let at = |from| begin_at(&header, &TransferAnswer::Wanted { from });
    assert_eq!(
        (at(0), at(CHUNK as u64), at(header.bytes)),
        (Ok(0), Ok(1), Ok(3))
    );
    for from in [1, CHUNK as u64 + 1, 3 * CHUNK as u64, u64::MAX] {
        assert_eq!(at(from), Err(TransferError::Answer), "{from}");
    }
    let done = |parameters| taken(&header, &TransferAnswer::Taken { parameters });
    assert_eq!(done(header.parameters), Ok(()));
    assert_eq!(done(ParametersId([0; 32])), Err(TransferError::Answer));
    assert_eq!(
        taken(&header, &TransferAnswer::Wanted { from: 0 }),
        Err(TransferError::Answer)
    );
    assert_eq!(
        begin_at(
            &header,
            &TransferAnswer::Taken {
                parameters: header.parameters
            }
        ),
        Err(TransferError::Answer)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// `chunks` up to eight cover every shape of the tree's right edge that more chunks have.
    #[test]
    fn any_length_arrives_whole(chunks in 0usize..8, rest in 0usize..CHUNK, fill in any::<u8>(), kept in 0usize..9) {
        let content: Vec<u8> = (0..chunks * CHUNK + rest).map(|at| (at >> 8) as u8 ^ fill).collect();
        let arrived = run(header(&content), content.len() as u64, &content, kept);
        prop_assert_eq!(arrived.map(|arrived| arrived.header()), Ok(header(&content)));
    }
}
