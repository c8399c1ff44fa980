//! The simulation itself: phantoms, then agents and coordinator until the outcome.

use super::children::{ChildError, Children};
use super::folder::Folder;
use super::plan::Plan;
use crate::address::OptionalAddress;
use crate::progress::View;
use crate::serve::ServeConfig;
use crate::status::{self, Page};
use crate::store;
use program::signal::{self, Signal};
use program::{Class, Failure};
use protocol::identity::SiteName;
use protocol::notification::Notification;
use protocol::outcome::Outcome;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How long the coordinator may take to stop, and agents to leave.
const GRACE: Duration = Duration::from_secs(10);

/// How long agents may outlive a coordinator that was killed: each gives up after a minute without
/// one.
const LONGEST_WAIT: Duration = Duration::from_secs(150);

/// A simulation with everything it needs.
pub(super) struct Simulation {
    pub(super) plan: Plan,
    pub(super) folder: Folder,
    /// The site-agent's binary.
    pub(super) agent: PathBuf,
    pub(super) with_local: bool,
    /// The file with the weights to start from.
    pub(super) start: Option<PathBuf>,
}

impl Simulation {
    /// Runs it to its outcome. `serve` runs the coordinator, which sends notifications and obeys
    /// the stop signal.
    ///
    /// # Errors
    /// A child's failure with the end of its log, the coordinator's, or an interruption.
    pub(super) async fn run<S, F>(&self, serve: S) -> Result<Outcome, Failure>
    where
        S: FnOnce(
            ServeConfig,
            mpsc::UnboundedSender<Notification>,
            watch::Receiver<Option<Signal>>,
        ) -> F,
        F: Future<Output = Result<Outcome, Failure>>,
    {
        let signal = signal::listen().map_err(Failure::no_signals)?;
        tokio::pin!(signal);
        // Checked before anything is written, because another simulation may run in the folder.
        if store::is_held(self.folder.path())? {
            return Err(store::in_use(self.folder.path()).into());
        }
        self.folder.issue(&self.plan)?;
        tokio::select! {
            made = self.make_phantoms() => made?,
            signal = &mut signal => return Err(self.stopped(signal)),
        }
        tokio::select! {
            free = self.wait_for_earlier_agents() => free?,
            signal = &mut signal => return Err(self.stopped(signal)),
        }
        let (sender, mut notifications) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(None);
        let config = self.config()?;
        let listen = config.listen;
        let serving = serve(config, sender, stopping);
        tokio::pin!(serving);
        let mut children = self.start_agents(listen, &self.dropped_before())?;
        let mut view = View::new(&self.plan.federation.sites.expected);
        let mut dropped = Vec::new();
        let outcome = loop {
            tokio::select! {
                biased;
                signal = &mut signal => {
                    let _ = stop.send(Some(signal));
                    let _ = tokio::time::timeout(GRACE, &mut serving).await;
                    break Err(self.stopped(signal));
                }
                Some(notification) = notifications.recv() => {
                    view.show(&notification);
                    if let Notification::Dropped { site } = notification {
                        dropped.push(agent(site.as_str()));
                    }
                }
                served = &mut serving => break served,
                // The agent of a site that the operator dropped ends with an error, as it should.
                error = children.failure() => if !error.is_of(&dropped) {
                    let _ = stop.send(Some(Signal::Terminate));
                    let _ = tokio::time::timeout(GRACE, &mut serving).await;
                    break Err(error.into());
                }
            }
        };
        view.clear();
        let grace = if outcome.is_ok() {
            GRACE
        } else {
            Duration::ZERO
        };
        children.settle(grace).await;
        outcome
    }

    /// Sites that were dropped before an interruption: they stay dropped.
    fn dropped_before(&self) -> Vec<SiteName> {
        match store::peek(self.folder.path()) {
            Ok((_, Some(checkpoint))) => checkpoint.dropped,
            Ok((_, None)) | Err(_) => Vec::new(),
        }
    }

    fn stopped(&self, signal: Signal) -> Failure {
        let folder = self.folder.path().display();
        Failure::new(signal.into(), "asked to stop").hint(format!(
            "the same command with --out {folder} goes on where it stopped"
        ))
    }

    fn config(&self) -> Result<ServeConfig, Failure> {
        let listen = match free_port() {
            Ok(listen) => listen,
            Err(error) => {
                let what = format!("no port on 127.0.0.1: {error}");
                return Err(Failure::new(Class::Federation, what));
            }
        };
        Ok(ServeConfig {
            federation: self.plan.federation.clone(),
            listen,
            fallback: None,
            certificates: self.folder.certificates().join("coordinator"),
            run_folder: self.folder.path().to_owned(),
            with_local: self.with_local,
            start: self.start.clone(),
            keep_updates: false,
            status: self.page()?,
        })
    }

    /// A status page on any free port, which only this machine can reach.
    fn page(&self) -> Result<Option<Page>, Failure> {
        let any_port = OptionalAddress::At((Ipv4Addr::LOCALHOST, 0).into());
        let page = status::bind(Some(any_port), None)?;
        if let Some(page) = &page {
            eprintln!("{}", page.greeting(self.folder.path()));
        }
        Ok(page)
    }

    /// Makes the phantoms that are missing, for as many sites at the same time as there are cores.
    async fn make_phantoms(&self) -> Result<(), Failure> {
        let wanted = self.folder.write_phantoms(&self.plan)?;
        let cores = super::cores();
        let mut children = Children::default();
        for (index, site) in wanted.iter().enumerate() {
            if index >= cores {
                children.next().await.transpose()?;
            }
            eprintln!(
                "making the phantoms of {site} ({} of {})",
                index + 1,
                wanted.len()
            );
            let config = self.folder.phantom_file(site);
            let out = self.folder.phantoms();
            let arguments = [
                "phantom".as_ref(),
                "--config".as_ref(),
                config.as_os_str(),
                "--out".as_ref(),
                out.as_os_str(),
            ];
            self.start(
                &mut children,
                &format!("the phantom maker of {site}"),
                &arguments,
                site,
            )?;
        }
        while children.next().await.transpose()?.is_some() {}
        Ok(())
    }

    /// Waits for the agents of a coordinator that was killed: they keep their work folders locked
    /// for a while.
    async fn wait_for_earlier_agents(&self) -> Result<(), Failure> {
        let began = Instant::now();
        for site in &self.plan.sites {
            let work = self.folder.work(site.name.as_str());
            let mut is_announced = false;
            while store::is_held(&work)? {
                if began.elapsed() > LONGEST_WAIT {
                    let what = format!("another site-agent works in {}", work.display());
                    return Err(Failure::new(Class::Configuration, what)
                        .hint("stop it, or name another folder with --out"));
                }
                if !is_announced {
                    eprintln!("waiting for an earlier agent of {} to end", site.name);
                    is_announced = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    fn start_agents(
        &self,
        coordinator: SocketAddr,
        dropped: &[SiteName],
    ) -> Result<Children, Failure> {
        let mut children = Children::default();
        for site in &self.plan.sites {
            if dropped.contains(&site.name) {
                continue;
            }
            self.folder.write_site(&self.plan, site, coordinator)?;
            let config = self.folder.site_file(site.name.as_str());
            let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
            let name = site.name.as_str();
            self.start(&mut children, &agent(name), &arguments, name)?;
        }
        Ok(children)
    }

    fn start(
        &self,
        children: &mut Children,
        what: &str,
        arguments: &[&OsStr],
        site: &str,
    ) -> Result<(), ChildError> {
        children.start(what, &self.agent, arguments, &self.folder.log(site))
    }
}

/// What a site's process is called in messages.
fn agent(site: &str) -> String {
    format!("the agent of {site}")
}

/// A free port. Agents need it in their settings before the coordinator listens.
fn free_port() -> std::io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests;
