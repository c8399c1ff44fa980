//! Representative cases in the report.

use super::*;
use protocol::jpeg::Picture;
use protocol::overlay::Overlay;

/// The least that passes for a JPEG: 2 x 3 grey pixels and some bytes of a scan.
fn picture(byte: u8) -> Picture {
    let head = [
        0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 3, 0, 2, 1, 1, 0x11, 0, 0xff, 0xda, 0, 8, 1, 1, 0, 0,
        63, 0,
    ];
    Picture::new([&head[..], &[byte, 0xff, 0xd9]].concat()).unwrap()
}

fn page(outcome: &Outcome) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(outcome, folder.path()).unwrap();
    std::fs::read_to_string(folder.path().join("report.html")).unwrap()
}

#[test]
fn without_pictures_the_page_says_where_they_are() {
    let page = page(&outcome(false));
    assert!(
        page.contains("Representative cases")
            && page.contains("Pictures of patients stay at the sites")
    );
    assert!(page.contains("No image and no patient") && !page.contains("<img"));
}

#[test]
fn pictures_stand_in_the_page_by_site_and_rank_and_no_others_do() {
    let mut outcome = outcome(true);
    // Of harbour's cases 0, 1 and 2, the second is the worst and the third the best; 7 is none of
    // them.
    let sent = [(1, 11), (2, 22), (7, 77)];
    let overlays = sent.map(|(case, byte)| Overlay {
        case,
        picture: picture(byte),
    });
    outcome.runs[0].scores[2].overlays = overlays.to_vec();
    // A site's own model has no place here.
    outcome.runs[1].scores[0].overlays = vec![Overlay {
        case: 0,
        picture: picture(99),
    }];
    let page = page(&outcome);
    let best = page.find(&picture(22).base64()).unwrap();
    let worst = page.find(&picture(11).base64()).unwrap();
    assert!(
        best < worst
            && page[best..]
                .contains("<strong>harbour</strong> (held out), best of its cases: Dice 0.919")
    );
    assert!(page[worst..].contains("worst of its cases: Dice 0.700"));
    assert!(!page.contains(&picture(77).base64()) && !page.contains(&picture(99).base64()));
    assert!(page.contains("Pictures of north, south stay at the sites"));
    assert!(!page.contains("No image and no patient"));
    // The page still needs nothing else.
    assert_eq!(
        page.matches("src=").count(),
        page.matches("src=\"data:image/jpeg;base64,").count()
    );
    // And all of it survives the outcome's file.
    let text = serde_json::to_string(&outcome).unwrap();
    assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
}
