//! The `brain` subcommand: a brain mask next to the images of each case.

use super::print::print;
use crate::brain_network::BrainNetwork;
use crate::device::{self, DeviceFault};
use crate::progress_bar::ProgressBar;
use crate::train::{on_own_thread, panic_message};
use imaging::brain::{Job, Program, Report, Way};
use program::{Class, Failure};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `brain`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the cases, as CASE/SEQUENCE.nii.gz. It receives CASE/brain.nii.gz.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    way: WayArgs,
    /// How long the command may take for one case, minutes.
    #[arg(
        long,
        value_name = "MINUTES",
        default_value_t = 30.0,
        conflicts_with_all = ["network", "zeros"]
    )]
    minutes: f64,
    /// Where the network runs: cpu, cuda, cuda:N, vulkan or vulkan:N.
    #[arg(long, default_value = "cpu", conflicts_with_all = ["command", "zeros"])]
    device: String,
    /// Where programs compiled for a GPU are kept, instead of the user's own cache folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["command", "zeros"])]
    kernel_cache: Option<PathBuf>,
    /// Threads for the network to compute with; all cores when left out.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["command", "zeros"])]
    threads: Option<usize>,
    /// Make all masks again, and replace those that are there.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// One of the ways to make a mask.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct WayArgs {
    /// By HD-BET's network, with the weights in this file (`site-agent brain-network` makes it). Can
    /// be given several times, with different weights: then the mean of their answers counts.
    #[arg(long, value_name = "FILE")]
    network: Vec<PathBuf>,
    /// Run this program for each case, such as "hd-bet -i {in} -o {out}". {in} is its image, and
    /// {out} the mask, or the image with zeros outside of the brain. There is no shell.
    #[arg(long, value_name = "LINE")]
    command: Option<String>,
    /// The images have no skull: brain is what is not zero.
    #[arg(long)]
    zeros: bool,
}

/// Runs it.
///
/// # Errors
/// A folder, command, network or device that cannot be used; and exit code 4 where a case has no
/// mask.
pub fn run(args: &Args) -> Result<(), Failure> {
    device::prepare(&args.device);
    let job = Job {
        folder: args.folder.clone(),
        way: way(args)?,
        force: args.force,
    };
    let report = on_worker(args, job)?;
    print(&report, args.json)?;
    match report.left_out() {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

fn way(args: &Args) -> Result<Way, Failure> {
    if let Some(line) = &args.way.command {
        return Ok(Way::Program(Program::parse(line, args.minutes)?));
    }
    if args.way.zeros {
        return Ok(Way::Zeros);
    }
    let device = device::open_with(&args.device, args.kernel_cache.as_deref())?;
    let network = BrainNetwork::open(&args.way.network, &device)?;
    Ok(Way::Network(Arc::new(network)))
}

/// Does the work on a thread of its own, whose pool the network computes on.
fn on_worker(args: &Args, job: Job) -> Result<Report, Failure> {
    let lost = |reason: String| Failure::new(Class::Internal, reason);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = move || {
        let mut bar = None;
        job.run(&mut |done, total| {
            bar.get_or_insert_with(|| ProgressBar::new("brain masks", total))
                .at(done);
        })
    };
    let worker = on_own_thread(args.threads.unwrap_or(cores), work);
    match worker.map_err(|error| lost(error.to_string()))?.join() {
        Ok(report) => Ok(report?),
        // A GPU's libraries panic where it refuses.
        Err(panic) if args.device != "cpu" => Err(DeviceFault::new(panic_message(&*panic)).into()),
        Err(_) => Err(lost("a thread panicked".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }

    fn typed(line: &str) -> Result<Args, clap::Error> {
        Typed::try_parse_from(line.split(' ')).map(|typed| typed.args)
    }

    #[test]
    fn one_way_is_chosen_and_options_go_with_theirs() {
        let several = typed("brain d --network a --network b --threads 2 --device cuda:1").unwrap();
        assert_eq!(several.way.network.len(), 2);
        assert!(typed("brain d --zeros").is_ok());
        assert!(typed("brain d --command x --minutes 3").is_ok());
        for line in [
            "brain d",
            "brain d --zeros --network a",
            "brain d --command x --network a",
            "brain d --zeros --minutes 3",
            "brain d --zeros --device cuda",
            "brain d --command x --threads 2",
        ] {
            assert!(typed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_file_that_is_no_network_is_refused_before_any_case() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hd-bet-0.safetensors");
        std::fs::write(&file, b"{}").unwrap();
        let line = format!(
            "brain {} --network {}",
            folder.path().display(),
            file.display()
        );
        let failure = run(&typed(&line).unwrap()).unwrap_err();
        assert_eq!(failure.class, Class::Data);
        assert!(
            failure
                .what
                .contains("hd-bet-0.safetensors: not a safetensors file"),
            "{}",
            failure.what
        );
        assert!(!folder.path().join("brain.json").exists());
    }
}
