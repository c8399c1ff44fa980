//! A federation's certificates, a listening coordinator, and sites that can be brought on.

use coordinator::certificates::{Request, issue};
use coordinator::server::{Inbound, Server, ServerConfig};
use protocol::case::Role;
use protocol::identity::SiteName;
use protocol::message::{
    CoordinatorMessage, Hello, PROTOCOL, RunId, TaskId, TaskKind, TransferHeader,
};
use protocol::parameters::ParametersId;
use protocol::settings::Federation;
use site_agent::link::{Link, LinkConfig, LinkError, LinkEvent};
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) fn site_name(name: &str) -> SiteName {
    name.parse().unwrap()
}

pub(crate) const TASK: TaskId = TaskId {
    run: RunId(0),
    round: 1,
    kind: TaskKind::Train,
    pass: 0,
};
const SETTINGS: &str =
    "name = 'demo'\nrounds = 1\n[input]\nsequences = ['bravo', 't1_pre', 't1_post', 'flair']\n";

/// Waits, but not for ever: a journey that hangs must fail.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("nothing happened for 20 seconds")
}

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) server: Server,
    pub(crate) events: mpsc::Receiver<Inbound>,
}

impl Stage {
    /// A coordinator that lets in `expected` (all, if empty) of the sites north, south and west.
    pub(crate) async fn open(expected_bytes: u64, expected: &[&str]) -> Self {
        Self::named("localhost,127.0.0.1", expected_bytes, expected).await
    }

    /// The same, with a certificate for `names`.
    pub(crate) async fn named(names: &str, expected_bytes: u64, expected: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certify(
            &folder.path().join("pki"),
            names,
            &["north", "south", "west"],
        );
        let (sender, events) = mpsc::channel(16);
        let config = ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            fallback: Some("127.0.0.1:0".parse().unwrap()),
            certificates: folder.path().join("pki/coordinator"),
            incoming: folder.path().join("incoming"),
            expected_bytes,
            expected_sites: expected.iter().map(|name| site_name(name)).collect(),
        };
        let server = Server::bind(config, sender).await.unwrap();
        Self {
            folder,
            server,
            events,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn link(&self, site: &str) -> LinkConfig {
        LinkConfig {
            coordinator: self.address().to_string(),
            fallback: None,
            certificates: self.path("pki").join(site),
            incoming: self.path(&format!("incoming-{site}")),
            models: self.path(&format!("models-{site}")),
        }
    }

    pub(crate) async fn event(&mut self) -> Inbound {
        soon(self.events.recv()).await.unwrap()
    }

    /// Nothing reached the application so far.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.events.try_recv().is_err()
    }

    /// Brings a site on, and gives its connection's number; its welcome is read already.
    pub(crate) async fn join(&mut self, site: &str) -> (Link, mpsc::Receiver<LinkEvent>, u64) {
        self.join_by(site, self.link(site)).await
    }

    /// The same, over a link of its own.
    pub(crate) async fn join_by(
        &mut self,
        site: &str,
        link: LinkConfig,
    ) -> (Link, mpsc::Receiver<LinkEvent>, u64) {
        let joining = tokio::spawn(Link::connect(link, hello()));
        let connection = match self.event().await {
            Inbound::Connected {
                site: name,
                connection,
                hello: words,
                ..
            } if name == site && words == hello() => connection,
            other => panic!("{other:?}"),
        };
        self.server.send(&site_name(site), welcome(site)).unwrap();
        let (link, mut events) = soon(joining).await.unwrap().unwrap();
        assert_eq!(
            soon(events.recv()).await,
            Some(LinkEvent::Message(welcome(site)))
        );
        (link, events, connection)
    }

    /// Parameters reach a site completely, and come back from it.
    pub(crate) async fn there_and_back(
        &mut self,
        site: &str,
        link: &Link,
        events: &mut mpsc::Receiver<LinkEvent>,
        bytes: usize,
    ) {
        let (header, file, content) = self.parameters("model.f32", bytes, 1);
        // Sent before the site knows what to expect: it waits.
        self.server
            .send_parameters(&site_name(site), header, file)
            .unwrap();
        link.set_model_bytes(bytes as u64);
        let received = match soon(events.recv()).await {
            Some(LinkEvent::Parameters {
                header: found,
                file,
            }) if found == header => file,
            other => panic!("{other:?}"),
        };
        assert!(std::fs::read(&received).unwrap() == content);
        soon(link.send_parameters(header, received)).await.unwrap();
        match self.event().await {
            Inbound::Parameters {
                site: from,
                arrived,
                file,
                ..
            } if from == site && arrived.header() == header => {
                assert!(std::fs::read(file).unwrap() == content);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Why a site cannot connect.
    pub(crate) async fn refusal(&self, config: LinkConfig) -> LinkError {
        match soon(Link::connect(config, hello())).await {
            Err(error) => error,
            Ok(_) => panic!("the site was let in"),
        }
    }

    /// Files left in the coordinator's folder for parameters.
    pub(crate) fn incoming(&self) -> usize {
        let folders = std::fs::read_dir(self.path("incoming")).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        // A name that begins with a dot belongs to no content.
        files
            .filter(|file| {
                !file
                    .as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with('.')
            })
            .count()
    }

    /// A file of parameters with the header that announces it.
    pub(crate) fn parameters(
        &self,
        name: &str,
        bytes: usize,
        seed: u32,
    ) -> (TransferHeader, PathBuf, Vec<u8>) {
        let content: Vec<u8> = (0..bytes as u32)
            .map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let file = self.path(name);
        std::fs::write(&file, &content).unwrap();
        (header(&content), file, content)
    }
}

pub(crate) fn header(content: &[u8]) -> TransferHeader {
    let parameters = ParametersId(*blake3::hash(content).as_bytes());
    TransferHeader {
        parameters,
        bytes: content.len() as u64,
        task: TASK,
    }
}

pub(crate) fn certify(out: &Path, names: &str, sites: &[&str]) {
    let request = Request {
        out: out.into(),
        coordinator_names: names.split(',').map(Into::into).collect(),
        sites: sites.iter().map(|&site| site.into()).collect(),
        days: 2,
    };
    issue(&request).unwrap();
}

pub(crate) fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        software: "test".into(),
        role: Role::Train,
        sequences: vec!["flair".into()],
    }
}

pub(crate) fn welcome(site: &str) -> CoordinatorMessage {
    let federation = Box::new(Federation::from_toml(SETTINGS).unwrap());
    CoordinatorMessage::Welcome {
        federation,
        site: site_name(site),
    }
}
