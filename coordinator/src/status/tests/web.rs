//! Who is let in, and what comes of it.

use super::*;
use crate::status::client::{Request, ask};
use crate::status::token::Token;
use crate::status::{StatusError, page_file::PageFile};

const LOCAL: &str = "Host: 127.0.0.1:8433";

fn code(answer: &str) -> &str {
    &answer["HTTP/1.1 ".len()..][..3]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_page_shows_everything_to_this_machine_and_nothing_to_strangers_pages() {
    let stage = Stage::open(false);
    let page = stage.ask("GET /", &[LOCAL]).await;
    assert!(
        code(&page) == "200"
            && page.contains("<script nonce=")
            && page.contains("frame-ancestors 'none'")
    );
    assert!(
        !page.contains("{nonce}") && !page.contains("http://www.example") && !page.contains("src=")
    );
    let again = stage.ask("GET /", &[LOCAL]).await;
    assert_ne!(page, again, "each answer has a nonce of its own");
    let json = stage.ask("GET /status.json", &["Host: localhost"]).await;
    let body = json.split_once("\r\n\r\n").unwrap().1;
    let status: Status = serde_json::from_str(body).unwrap();
    assert_eq!(status.sites, busy().sites);
    assert!(
        json.contains("cache-control: no-store")
            && json.contains("x-content-type-options: nosniff"),
        "{json}"
    );
    assert!(
        stage
            .ask("GET /metrics", &[LOCAL])
            .await
            .contains("text/plain; version=0.0.4")
    );
    for path in ["/", "/status.json", "/metrics"] {
        let rebound = stage
            .ask(&format!("GET {path}"), &["Host: evil.example:8433"])
            .await;
        assert_eq!(code(&rebound), "421", "{rebound}");
    }
    assert_eq!(code(&stage.ask("GET /other", &[LOCAL]).await), "404");
}

#[tokio::test(flavor = "multi_thread")]
async fn steering_needs_the_token_in_its_header_and_a_post() {
    let mut stage = Stage::open(false);
    let bearer = format!("Authorization: Bearer {}", stage.token());
    let wrong = "Authorization: Bearer 0000000000000000000000000000000000000000";
    let cookie = format!("Cookie: lacuna_status={}", stage.token());
    let stop = "POST /control/stop";
    for headers in [&[LOCAL][..], &[LOCAL, wrong], &[LOCAL, &cookie]] {
        assert_eq!(code(&stage.ask(stop, headers).await), "401", "{headers:?}");
    }
    assert_eq!(
        code(&stage.ask(stop, &["Host: evil.example", &bearer]).await),
        "421"
    );
    assert_eq!(
        code(&stage.ask("GET /control/stop", &[LOCAL, &bearer]).await),
        "405"
    );
    assert!(
        stage.commands.try_recv().is_err(),
        "nothing of this reached the loop"
    );
    let (door, token, mut commands) = (stage.address, stage.token(), stage.commands);
    let driver = tokio::spawn(async move {
        for (wanted, answer) in [
            (Action::Pause, Ok(Done::Paused)),
            (
                Action::Drop {
                    site: "north".into(),
                    force: false,
                },
                Err(Refusal::UnknownSite {
                    found: "nroth".into(),
                    nearest: Some("north".parse().unwrap()),
                    sites: vec!["north".parse().unwrap(), "south".parse().unwrap()],
                }),
            ),
        ] {
            let command = commands.recv().await.unwrap();
            assert_eq!(command.action, wanted);
            command.answer.send(answer).unwrap();
        }
    });
    let steer = move |path: &'static str| {
        ask(
            door,
            Request {
                method: "POST",
                path,
                token: Some(&token),
            },
        )
    };
    let answers = tokio::task::spawn_blocking(move || {
        [steer("/control/pause"), steer("/control/drop/north")]
    });
    let [paused, dropped] = answers.await.unwrap();
    assert_eq!(paused.unwrap(), Done::Paused.to_string());
    assert_eq!(
        dropped.unwrap_err().to_string(),
        "the coordinator refuses: there is no site nroth in this federation: did you mean north? \
         Its sites: north, south"
    );
    driver.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_others_can_reach_needs_the_token_or_the_cookie_it_was_changed_for() {
    let stage = Stage::open(true);
    let (host, token) = ("Host: lacuna.example.org:8433", stage.token());
    for path in ["/", "/status.json", "/metrics", "/?token=guess"] {
        assert_eq!(
            code(&stage.ask(&format!("GET {path}"), &[host]).await),
            "401",
            "{path}"
        );
    }
    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(
        code(&stage.ask("GET /metrics", &[host, &bearer]).await),
        "200"
    );
    let changed = stage.ask(&format!("GET /?token={token}"), &[host]).await;
    assert!(
        code(&changed) == "303" && changed.contains("location: /\r\n"),
        "{changed}"
    );
    let cookie = changed
        .split("set-cookie: ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert!(
        !cookie.contains(&token) && changed.contains("HttpOnly; SameSite=Strict"),
        "{changed}"
    );
    let cookie_line = format!("Cookie: other=1; {cookie}");
    assert_eq!(
        code(&stage.ask("GET /status.json", &[host, &cookie_line]).await),
        "200"
    );
    assert_eq!(
        code(&stage.ask("POST /control/stop", &[host, &cookie_line]).await),
        "401",
        "a cookie steers nothing"
    );
    let stolen = format!(
        "Authorization: Bearer {}",
        cookie.split_once('=').unwrap().1
    );
    assert_eq!(
        code(&stage.ask("POST /control/stop", &[host, &stolen]).await),
        "401",
        "nor does what it holds"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_folder_says_where_and_only_its_owner_reads_the_token() {
    let stage = Stage::open(true);
    let page_file = PageFile::read(stage.folder.path()).unwrap();
    assert_eq!(page_file.reachable_address(), stage.address);
    assert!(
        Token::read(&page_file.token_file)
            .unwrap()
            .is(&stage.token())
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&page_file.token_file)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let first = stage.token();
    stage.web.close().await;
    assert!(PageFile::read(stage.folder.path()).is_none());
    let token = Token::of_folder(stage.folder.path()).unwrap();
    assert!(token.is(&first), "a restart keeps it");
    assert_eq!(format!("{token:?}"), "Token");
    std::fs::write(stage.folder.path().join("short"), "secret\n").unwrap();
    assert!(Token::read(&stage.folder.path().join("short")).is_err());
}

#[tokio::test]
async fn an_address_in_use_is_refused_by_its_key_if_it_was_configured() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wish = OptionalAddress::At(taken.local_addr().unwrap());
    let error = bind(Some(wish), None).unwrap_err();
    assert!(
        matches!(error, StatusError::Listen { .. }) && error.to_string().contains("serve.status"),
        "{error}"
    );
    assert!(bind(Some(OptionalAddress::Off), None).unwrap().is_none());
    let [one, other] = [
        bind(None, None).unwrap().unwrap(),
        bind(None, None).unwrap().unwrap(),
    ];
    assert!(one.is_local() && other.is_local() && one.address != other.address);
    assert!(
        "nowhere"
            .parse::<OptionalAddress>()
            .unwrap_err()
            .to_string()
            .contains("127.0.0.1:8433")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_on_its_way_arrives_before_the_page_closes() {
    let mut stage = Stage::open(false);
    let (door, token) = (stage.address, stage.token());
    let asking = tokio::task::spawn_blocking(move || {
        ask(
            door,
            Request {
                method: "POST",
                path: "/control/stop",
                token: Some(&token),
            },
        )
    });
    let command = stage.commands.recv().await.unwrap();
    command.answer.send(Ok(Done::Stopping)).unwrap();
    stage.web.close().await;
    assert_eq!(asking.await.unwrap().unwrap(), "stopping");
}
