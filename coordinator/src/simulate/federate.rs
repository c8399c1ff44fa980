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
use protocol::notification::Notification;
use protocol::outcome::Outcome;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How long the coordinator may take to stop, and agents to leave.
const GRACE: Duration = Duration::from_secs(10);

/// How long agents may outlive a coordinator that was killed.
const LINGER: Duration = Duration::from_secs(150);

/// A simulation with everything it needs.
pub(super) struct Simulation {
    pub(super) plan: Plan,
    pub(super) folder: Folder,
    /// The site-agent's binary.
    pub(super) agent: PathBuf,
    pub(super) with_local: bool,
    /// The weights to begin from.
    pub(super) start: Option<PathBuf>,
}

impl Simulation {
    /// Runs it to its outcome. `serve` starts a coordinator that tells what happens and heeds the
    /// stop signal.
    ///
    /// # Errors
    /// A child's failure with its last words, the coordinator's, or the interruption.
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
        // Before anything is written that a simulation which runs there has written.
        if store::is_held(self.folder.path())? {
            return Err(store::in_use(self.folder.path()).into());
        }
        self.folder.issue(&self.plan)?;
        tokio::select! {
            made = self.make_phantoms() => made?,
            signal = &mut signal => return Err(self.stopped(signal)),
        }
        tokio::select! {
            free = self.until_free() => free?,
            signal = &mut signal => return Err(self.stopped(signal)),
        }
        let (happen, mut notifications) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(None);
        let request = self.request()?;
        let listen = request.listen;
        let serving = serve(request, happen, stopping);
        tokio::pin!(serving);
        // Dropped before an interruption, a site stays dropped.
        let gone = store::peek(self.folder.path())
            .ok()
            .and_then(|(_, checkpoint)| checkpoint)
            .unwrap_or_default()
            .dropped;
        let mut children = self.start_agents(listen, &gone)?;
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
                        dropped.push(agent(&site));
                    }
                }
                served = &mut serving => break served,
                // The agent of a site that the operator dropped ends with a complaint, as it
                // should.
                error = children.failure() => if !error.is_of(&dropped) {
                    let _ = stop.send(Some(Signal::Terminate));
                    let _ = tokio::time::timeout(GRACE, &mut serving).await;
                    break Err(error.into());
                }
            }
        };
        view.clear();
        children
            .settle(if outcome.is_ok() {
                GRACE
            } else {
                Duration::ZERO
            })
            .await;
        outcome
    }

    fn stopped(&self, signal: Signal) -> Failure {
        let folder = self.folder.path().display();
        Failure::new(signal.into(), "asked to stop").hint(format!(
            "the same command with --out {folder} goes on where it stopped"
        ))
    }

    fn request(&self) -> Result<ServeConfig, Failure> {
        Ok(ServeConfig {
            federation: self.plan.federation.clone(),
            listen: free_port().map_err(|e| {
                Failure::new(Class::Federation, format!("no port on 127.0.0.1: {e}"))
            })?,
            fallback: None,
            certificates: self.folder.certificates().join("coordinator"),
            run_folder: self.folder.path().to_owned(),
            with_local: self.with_local,
            start: self.start.clone(),
            keep_updates: false,
            status: self.page()?,
        })
    }

    /// A page of this machine alone, wherever there is a place for it.
    fn page(&self) -> Result<Option<Page>, Failure> {
        let page = status::bind(
            Some(OptionalAddress::At((Ipv4Addr::LOCALHOST, 0).into())),
            None,
        )?;
        page.iter()
            .for_each(|page| eprintln!("{}", page.greeting(self.folder.path())));
        Ok(page)
    }

    /// Makes the phantoms that are missing, as many sites at once as there are cores.
    async fn make_phantoms(&self) -> Result<(), Failure> {
        let wanted = self.folder.write_phantoms(&self.plan)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
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
            let (config, out) = (self.folder.phantom_file(site), self.folder.phantoms());
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

    /// Waits for agents that outlived a coordinator which was killed: they hold their work folders
    /// for a while.
    async fn until_free(&self) -> Result<(), Failure> {
        let began = Instant::now();
        for site in &self.plan.sites {
            let work = self.folder.work(&site.name);
            let mut told = false;
            while store::is_held(&work)? {
                if began.elapsed() > LINGER {
                    let what = format!("another site-agent works in {}", work.display());
                    return Err(Failure::new(Class::Configuration, what)
                        .hint("stop it, or name another folder with --out"));
                }
                if !told {
                    eprintln!("waiting for an earlier agent of {} to end", site.name);
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    fn start_agents(&self, coordinator: SocketAddr, gone: &[String]) -> Result<Children, Failure> {
        let mut children = Children::default();
        for site in self
            .plan
            .sites
            .iter()
            .filter(|site| !gone.contains(&site.name))
        {
            self.folder.write_site(&self.plan, site, coordinator)?;
            let config = self.folder.site_file(&site.name);
            let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
            self.start(&mut children, &agent(&site.name), &arguments, &site.name)?;
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

/// What a site's process is called.
fn agent(site: &str) -> String {
    format!("the agent of {site}")
}

/// A port nobody listens on. Agents need it in their files before the coordinator listens.
fn free_port() -> std::io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests;
