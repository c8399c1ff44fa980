use super::*;
use crate::case::{Cases, Role};
use crate::identity::tests::site_name;
use crate::jpeg::Picture;
use crate::jpeg::tests::bones;
use crate::message::{
    EvaluationRequest, Hello, Inventory, Progress, RunId, TaskId, TaskKind, Trained,
};
use crate::overlay::Overlay;
use crate::parameters::ParametersId;
use crate::settings::Federation;
use metrics::score::{
    AtThreshold, CaseScore, LesionCounts, ScoreHistogram, SizeBinCounts, SubsetScore, SweepPoint,
};
use metrics::sequence::SequenceSet;
use proptest::prelude::*;

const TASK: TaskId = TaskId {
    run: RunId(0),
    round: 300,
    kind: TaskKind::Evaluate(Cases::HeldOut),
    pass: 1,
};

fn lesions() -> LesionCounts {
    LesionCounts {
        reference: 2,
        detected: 1,
        predicted: 3,
        false_positive: 2,
        false_positive_10mm3: 1,
    }
}

fn at() -> AtThreshold {
    let none = SizeBinCounts::default();
    AtThreshold {
        threshold: 0.25,
        true_positive: 11,
        false_positive: 1,
        false_negative: 1,
        lesions: lesions(),
        by_size: [
            SizeBinCounts {
                lesions: 1,
                found: 0,
            },
            none,
            none,
            SizeBinCounts {
                lesions: 1,
                found: 1,
            },
        ],
        dice_detected: Some(0.5),
    }
}

fn subset_score() -> SubsetScore {
    let subset = SequenceSet::EMPTY.with(2);
    SubsetScore {
        case: 7,
        subset,
        auc_brain: Some(0.75),
        auc_volume: None,
        at: vec![at()],
    }
}

fn score() -> CaseScore {
    CaseScore {
        case: 7,
        subset: SequenceSet::full(4).without(1),
        voxel_mm3: 0.5,
        brain: ScoreHistogram {
            bins: vec![(3, 0, 70_000), (2047, 12, 1)],
        },
        outside: ScoreHistogram {
            bins: vec![(0, 0, 5)],
        },
        at: vec![at()],
        sweep: vec![SweepPoint {
            threshold: 0.125,
            lesions: lesions(),
        }],
    }
}

fn trained() -> Trained {
    Trained {
        task: TaskId {
            kind: TaskKind::Train,
            pass: 0,
            ..TASK
        },
        parameters: ParametersId([0xab; 32]),
        slices: 6400,
        steps: 100,
        asked_steps: 120,
        mean_loss: 0.5,
        last_loss: 0.25,
        seconds: 12.0,
        sequences: SequenceSet::full(3),
        compute: crate::settings::Compute::Bf16,
    }
}

fn overlay(case: u32, data: &[u8]) -> Overlay {
    Overlay {
        case,
        picture: Picture::new(bones(data)).unwrap(),
    }
}

fn federation() -> Federation {
    Federation::from_toml(
        "name = 'demo'\nrounds = 3\n[input]\nsequences = ['bravo', 't1_pre', 't1_post', 'flair']\n",
    )
    .unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame's bytes may only change together with the protocol's version.
#[test]
fn site_messages_are_spelt_as_they_always_were() {
    let hello = Hello {
        protocol: 1,
        software: "0.1.0".into(),
        role: Role::Evaluate,
        sequences: vec!["t1".into(), "flair".into()],
    };
    let inventory = Inventory {
        sequences: SequenceSet::full(4),
        training_cases: 20,
        validation_cases: 4,
        held_out_cases: 0,
        skipped_cases: 1,
        training_slices: 3000,
        training_lesions: 60,
        validation_lesions: 300,
        held_out_lesions: 0,
    };
    let progress = Progress {
        task: TASK,
        done: 5,
        total: 50,
        loss: Some(0.5),
        slices_per_second: 2.0,
    };
    let id = "ab".repeat(32);
    let trained_hex = format!("3a0000000400fb2c010000{id}fb001964780000003f0000803e000040410701");
    let golden = [
        (
            SiteMessage::Hello(hello),
            "13000000000105302e312e30010202743105666c616972",
        ),
        (
            SiteMessage::Ready(inventory),
            "0e000000010f14040001fbb80b3cfb2c0100",
        ),
        (
            SiteMessage::Progress(progress),
            "130000000200fb2c010101010532010000003f00000040",
        ),
        (
            SiteMessage::Preparing {
                done: 1,
                total: 251,
            },
            "050000000301fbfb00",
        ),
        (SiteMessage::Trained(trained()), &trained_hex),
        (
            SiteMessage::Scored {
                task: TASK,
                score: score(),
            },
            SCORED,
        ),
        (
            SiteMessage::Evaluated {
                task: TASK,
                cases: 9,
            },
            "090000000600fb2c0101010109",
        ),
        (
            SiteMessage::Failed {
                task: TASK,
                reason: "no".into(),
            },
            "0b0000000700fb2c01010101026e6f",
        ),
        (
            SiteMessage::SubsetScored {
                task: TASK,
                score: subset_score(),
            },
            SUBSET_SCORED,
        ),
        (
            SiteMessage::Overlay {
                task: TASK,
                overlay: overlay(7, &[1]),
            },
            OVERLAY,
        ),
    ];
    for (message, expected) in golden {
        assert_golden(&message, expected);
    }
}

const SCORED: &str = "4b0000000500fb2c01010101070d000000000000e03f020300fc70110100fbff070c0101000005010000803e0b01010201030201010000000000010101000000000000e03f010000003e0201030201";
const SUBSET_SCORED: &str = "320000000800fb2c01010101070401000000000000e83f00010000803e0b01010201030201010000000000010101000000000000e03f";

const OVERLAY: &str =
    "260000000900fb2c01010101071cffd8ffc0000b080003000201011100ffda0008010100003f0001ffd9";

#[test]
fn coordinator_messages_and_headers_are_spelt_as_they_always_were() {
    let model = ParametersId([0xab; 32]);
    let id = "ab".repeat(32);
    let wanted = EvaluationRequest {
        thresholds: vec![0.5, 0.25],
        sweep: vec![0.125],
        subsets: true,
    };
    let evaluate = CoordinatorMessage::Evaluate {
        task: TASK,
        models: vec![model],
        wanted,
    };
    assert_golden(
        &CoordinatorMessage::Refused {
            reason: "full".into(),
        },
        "06000000010466756c6c",
    );
    for (steps, frame) in [
        (None, format!("290000000200fb2c01010101{id}00")),
        (Some(300), format!("2c0000000200fb2c01010101{id}01fb2c01")),
    ] {
        assert_golden(
            &CoordinatorMessage::Train {
                task: TASK,
                model,
                steps,
            },
            &frame,
        );
    }
    assert!(
        encode(&CoordinatorMessage::Train {
            task: TASK,
            model,
            steps: Some(0)
        })
        .is_err()
    );
    assert_golden(
        &evaluate,
        &format!("380000000300fb2c0101010101{id}020000003f0000803e010000003e01"),
    );
    assert_golden(
        &CoordinatorMessage::Finished {
            summary: "done".into(),
        },
        "060000000404646f6e65",
    );
    assert_golden(
        &CoordinatorMessage::Conclude { task: TASK },
        "080000000500fb2c01010101",
    );
    assert_golden(
        &CoordinatorMessage::NotCounted {
            task: TASK,
            reason: "far".into(),
        },
        "0c0000000600fb2c0101010103666172",
    );
    let header = TransferHeader {
        parameters: model,
        bytes: 160_000_000,
        task: TASK,
    };
    assert_golden(&header, &format!("2c000000{id}fc0068890900fb2c01010101"));
    assert_golden(
        &TransferAnswer::Wanted { from: 3 << 20 },
        "0600000000fc00003000",
    );
    assert_golden(
        &TransferAnswer::Taken { parameters: model },
        &format!("2100000001{id}"),
    );
}

fn assert_golden<T: Frame + PartialEq + std::fmt::Debug>(value: &T, expected: &str) {
    let frame = encode(value).unwrap();
    assert_eq!(hex(&frame), expected, "{value:?}");
    let (prefix, payload) = frame.split_first_chunk().unwrap();
    assert_eq!(payload_length(*prefix), Ok(payload.len()));
    assert_eq!(decode::<T>(payload).as_ref(), Ok(value));
}

#[test]
fn a_welcome_carries_settings_that_work_and_no_others() {
    let mut federation = federation();
    let welcome = |federation: &Federation| CoordinatorMessage::Welcome {
        federation: Box::new(federation.clone()),
        site: site_name("north"),
    };
    let frame = encode(&welcome(&federation)).unwrap();
    assert_eq!(decode(&frame[PREFIX..]), Ok(welcome(&federation)));
    federation.input.slices = 0;
    assert!(matches!(
        encode(&welcome(&federation)),
        Err(CodecError::Settings(_))
    ));
}

#[test]
fn a_length_past_the_limit_is_refused_before_anything_is_read() {
    let announced = (MAX_PAYLOAD + 1) as u32;
    assert_eq!(
        payload_length(announced.to_le_bytes()),
        Err(CodecError::Oversized {
            bytes: MAX_PAYLOAD + 1
        })
    );
    assert_eq!(
        payload_length(u32::MAX.to_le_bytes()),
        Err(CodecError::Oversized {
            bytes: u32::MAX as usize
        })
    );
    assert_eq!(
        payload_length((MAX_PAYLOAD as u32).to_le_bytes()),
        Ok(MAX_PAYLOAD)
    );
    let long = SiteMessage::Failed {
        task: TASK,
        reason: "x".repeat(MAX_PAYLOAD),
    };
    assert!(matches!(encode(&long), Err(CodecError::Oversized { .. })));
    const { assert!(MAX_PAYLOAD + PREFIX < 1 << 16) };
}

#[test]
fn bytes_after_the_message_are_refused() {
    let mut payload = encode(&SiteMessage::Preparing { done: 1, total: 2 })
        .unwrap()
        .split_off(PREFIX);
    payload.push(0);
    let refused = decode::<SiteMessage>(&payload);
    assert_eq!(
        refused,
        Err(CodecError::Trailing {
            what: "site message",
            left: 1
        })
    );
}

/// `Ready`-like lengths of 2^63 inside a small payload must fail by running out of bytes, not of
/// memory.
#[test]
fn a_hostile_length_inside_a_payload_allocates_nothing() {
    let mut reason = vec![7, 0, 1, 0, 0];
    reason.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    assert!(matches!(
        decode::<SiteMessage>(&reason),
        Err(CodecError::Malformed { .. })
    ));
    let mut histogram = vec![5, 0, 1, 0, 0, 7, 1];
    histogram.extend(1f64.to_le_bytes());
    histogram.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    assert!(matches!(
        decode::<SiteMessage>(&histogram),
        Err(CodecError::Malformed { .. })
    ));
    let mut picture = vec![9, 0, 1, 0, 0, 7];
    picture.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    assert!(matches!(
        decode::<SiteMessage>(&picture),
        Err(CodecError::Malformed { .. })
    ));
}

#[test]
fn a_picture_that_is_none_is_refused() {
    let sound = encode(&SiteMessage::Overlay {
        task: TASK,
        overlay: overlay(7, &[1, 2, 3]),
    })
    .unwrap();
    let mut payload = sound[PREFIX..].to_vec();
    // The second 0xff of its end becomes the start of something else.
    *payload.last_mut().unwrap() = 0xda;
    let refused = decode::<SiteMessage>(&payload);
    assert!(
        matches!(&refused, Err(CodecError::Malformed { reason, .. }) if reason.contains("JPEG")),
        "{refused:?}"
    );
}

/// Each change makes a well-spelt score meaningless; the payload is spelt without asking.
#[test]
fn scores_that_mean_nothing_are_refused() {
    type Change = fn(&mut CaseScore);
    let changes: [(&str, Change); 15] = [
        ("histogram", |score| score.brain.bins.reverse()),
        ("histogram", |score| score.brain.bins.push((2047, 1, 1))),
        ("histogram", |score| score.brain.bins.push((2048, 1, 1))),
        ("histogram", |score| score.outside.bins[0].2 = u64::MAX),
        ("subset", |score| score.subset = SequenceSet::EMPTY),
        ("voxel_mm3", |score| score.voxel_mm3 = f64::NAN),
        ("voxel_mm3", |score| score.voxel_mm3 = 0.0),
        ("threshold", |score| score.at[0].threshold = 1.5),
        ("counts", |score| score.at[0].true_positive = u64::MAX),
        ("lesions", |score| score.at[0].lesions.detected = 3),
        ("lesions by size", |score| score.at[0].by_size[0].found = 1),
        ("lesions by size", |score| {
            score.at[0].by_size[1].lesions = u32::MAX
        }),
        ("Dice of detected lesions", |score| {
            score.at[0].dice_detected = Some(1.5)
        }),
        ("threshold", |score| score.sweep[0].threshold = f32::NAN),
        ("lesions", |score| score.sweep[0].lesions.false_positive = 4),
    ];
    for (expected, change) in changes {
        let mut score = score();
        change(&mut score);
        let message = SiteMessage::Scored { task: TASK, score };
        let payload = bincode::serde::encode_to_vec(&message, configuration()).unwrap();
        let field = match decode::<SiteMessage>(&payload) {
            Err(CodecError::Meaningless { field, .. }) => field,
            Err(CodecError::Histogram(_)) => "histogram",
            other => panic!("{expected}: {other:?}"),
        };
        assert_eq!(field, expected);
        assert!(
            encode(&message).is_err(),
            "{expected} may not be sent either"
        );
    }
}

#[test]
fn scores_of_subsets_that_mean_nothing_are_refused() {
    type Change = fn(&mut SubsetScore);
    let changes: [(&str, Change); 5] = [
        ("subset", |score| score.subset = SequenceSet::EMPTY),
        ("AUC", |score| score.auc_brain = Some(f64::NAN)),
        ("AUC", |score| score.auc_volume = Some(-0.5)),
        ("Dice of detected lesions", |score| {
            score.at[0].dice_detected = Some(f64::INFINITY)
        }),
        ("lesions", |score| score.at[0].lesions.detected = 3),
    ];
    for (expected, change) in changes {
        let mut score = subset_score();
        change(&mut score);
        let message = SiteMessage::SubsetScored { task: TASK, score };
        let payload = bincode::serde::encode_to_vec(&message, configuration()).unwrap();
        let refused = decode::<SiteMessage>(&payload);
        assert!(
            matches!(&refused, Err(CodecError::Meaningless { field, .. }) if *field == expected),
            "{refused:?}"
        );
        assert!(
            encode(&message).is_err(),
            "{expected} may not be sent either"
        );
    }
}

/// A case whose histograms fill every bin with the counts of the largest volumes, at every
/// threshold that is ever asked for.
fn longest_score(count: u64) -> SiteMessage {
    let bins: Vec<(u16, u64, u64)> = (0..2048).map(|bin| (bin, count, count)).collect();
    let full = ScoreHistogram { bins };
    let many = u32::MAX / 8;
    let lesions = LesionCounts {
        reference: many,
        detected: many,
        predicted: many,
        false_positive: many,
        false_positive_10mm3: 9,
    };
    let none = SizeBinCounts::default();
    let by_size = [
        SizeBinCounts {
            lesions: many,
            found: many,
        },
        none,
        none,
        none,
    ];
    let at = AtThreshold {
        true_positive: count,
        false_positive: count,
        lesions,
        by_size,
        ..at()
    };
    let sweep = vec![
        SweepPoint {
            threshold: 0.5,
            lesions
        };
        32
    ];
    let score = CaseScore {
        brain: full.clone(),
        outside: full,
        at: vec![at; 3],
        sweep,
        ..score()
    };
    SiteMessage::Scored { task: TASK, score }
}

#[test]
fn the_longest_score_that_a_volume_can_give_is_encoded_and_decoded() {
    for count in [1, 255, 60_000, 70_000, 1 << 26] {
        let message = longest_score(count);
        let frame = encode(&message).unwrap();
        assert!(frame.len() < 1 << 16, "{count}: {} bytes", frame.len());
        assert_eq!(
            decode::<SiteMessage>(&frame[PREFIX..]),
            Ok(message),
            "{count} in each bin"
        );
    }
}

/// Every number in as few bytes as it can travel in: nothing that fits a frame takes more once
/// decoded.
#[test]
fn a_frame_full_of_the_smallest_numbers_is_decoded() {
    let at = AtThreshold {
        true_positive: 0,
        false_positive: 0,
        false_negative: 0,
        ..AtThreshold::default()
    };
    let score = SubsetScore {
        at: vec![at; (MAX_PAYLOAD - 100) / 21],
        ..subset_score()
    };
    let message = SiteMessage::SubsetScored { task: TASK, score };
    let frame = encode(&message).unwrap();
    assert!(frame.len() > MAX_PAYLOAD * 9 / 10, "{} bytes", frame.len());
    assert_eq!(decode::<SiteMessage>(&frame[PREFIX..]), Ok(message));
}

#[test]
fn a_set_wider_than_any_federation_is_refused() {
    // Ready with sequences 0x0100.
    let refused = decode::<SiteMessage>(&[1, 0xfb, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(
        matches!(
            refused,
            Err(CodecError::Meaningless {
                field: "sequence set",
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn a_loss_that_is_not_a_number_and_text_for_a_terminal_are_refused() {
    let nan = SiteMessage::Trained(Trained {
        mean_loss: f32::NAN,
        ..trained()
    });
    assert!(matches!(
        encode(&nan),
        Err(CodecError::Meaningless {
            field: "loss or seconds",
            ..
        })
    ));
    let escape = SiteMessage::Failed {
        task: TASK,
        reason: "\u{1b}[2J".into(),
    };
    assert!(matches!(
        encode(&escape),
        Err(CodecError::Meaningless {
            field: "reason",
            ..
        })
    ));
}

#[test]
fn any_text_can_be_made_a_sentence_that_may_travel() {
    let reason = sentence(&format!("two\nlines \u{1b}[2J{}", "é".repeat(2000)));
    assert!(reason.starts_with("two lines  [2J") && reason.chars().count() == 1000);
    assert!(encode(&SiteMessage::Failed { task: TASK, reason }).is_ok());
}

fn tasks() -> impl Strategy<Value = TaskId> {
    let kinds = prop_oneof![
        Just(TaskKind::Train),
        Just(TaskKind::Evaluate(Cases::Validation)),
        Just(TaskKind::Evaluate(Cases::HeldOut)),
    ];
    (any::<u16>(), any::<u32>(), kinds, any::<u8>()).prop_map(|(run, round, kind, pass)| TaskId {
        run: RunId(run),
        round,
        kind,
        pass,
    })
}

fn histograms() -> impl Strategy<Value = ScoreHistogram> {
    proptest::collection::btree_map(0u16..2048, (0u64..1 << 30, 1u64..1 << 30), 0..60).prop_map(
        |bins| ScoreHistogram {
            bins: bins.into_iter().map(|(bin, (a, b))| (bin, a, b)).collect(),
        },
    )
}

fn site_messages() -> impl Strategy<Value = SiteMessage> {
    let scored = (tasks(), 1u16..256, 1e-3f64..1e3, histograms(), histograms()).prop_map(
        |(task, subset, voxel_mm3, brain, outside)| SiteMessage::Scored {
            task,
            score: CaseScore {
                subset: SequenceSet::from_bits(subset),
                voxel_mm3,
                brain,
                outside,
                ..score()
            },
        },
    );
    let subset_scored = (
        tasks(),
        any::<u32>(),
        1u16..256,
        proptest::option::of(0f64..=1.0),
    )
        .prop_map(
            |(task, case, subset, auc_brain)| SiteMessage::SubsetScored {
                task,
                score: SubsetScore {
                    case,
                    subset: SequenceSet::from_bits(subset),
                    auc_brain,
                    ..subset_score()
                },
            },
        );
    let data = proptest::collection::vec(0u8..0xff, 0..40);
    let drawn = (tasks(), any::<u32>(), data).prop_map(|(task, case, data)| SiteMessage::Overlay {
        task,
        overlay: overlay(case, &data),
    });
    prop_oneof![
        drawn,
        (tasks(), any::<u32>()).prop_map(|(task, cases)| SiteMessage::Evaluated { task, cases }),
        (tasks(), "[ -~äé]{0,80}").prop_map(|(task, reason)| SiteMessage::Failed { task, reason }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(done, total)| SiteMessage::Preparing { done, total }),
        (tasks(), any::<[u8; 32]>(), any::<u64>(), 0f32..1e6).prop_map(
            |(task, id, slices, mean_loss)| {
                SiteMessage::Trained(Trained {
                    task,
                    parameters: ParametersId(id),
                    slices,
                    mean_loss,
                    ..trained()
                })
            }
        ),
        scored,
        subset_scored,
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(message in site_messages()) {
        let frame = encode(&message).unwrap();
        prop_assert_eq!(decode::<SiteMessage>(&frame[PREFIX..]), Ok(message));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = decode::<SiteMessage>(&bytes) {
            prop_assert!(message.check().is_ok());
        }
        if let Ok(message) = decode::<CoordinatorMessage>(&bytes) {
            prop_assert!(message.check().is_ok());
        }
        decode::<TransferHeader>(&bytes).ok();
        decode::<TransferAnswer>(&bytes).ok();
    }

    #[test]
    fn a_damaged_frame_is_a_sound_message_or_an_error(
        message in site_messages(), at in any::<proptest::sample::Index>(), flip in 1u8..,
    ) {
        let mut payload = encode(&message).unwrap().split_off(PREFIX);
        let at = at.index(payload.len());
        payload[at] ^= flip;
        if let Ok(message) = decode::<SiteMessage>(&payload) {
            prop_assert!(message.check().is_ok());
        }
        prop_assert!(decode::<SiteMessage>(&payload[..at]).is_err());
    }
}
