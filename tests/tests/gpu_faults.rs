//! A GPU that fails in the middle of a round.
//!
//! `fixtures/vulkan_driver.c` wraps the machine's Vulkan driver, such as Mesa's software GPU, and
//! makes it fail while a certain file exists. The programs must be built for Vulkan, and
//! `VK_DRIVER_FILES` must name the driver's description, as in `.ci/run`. Otherwise these tests
//! print that they checked nothing.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use journeys::settings::{SimulatedSite, Simulation};
use journeys::{binary, compile_c};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// The site called west trains on the GPU.
fn settings() -> String {
    let simulation = Simulation {
        name: "faults",
        seed: 5,
        rounds: 3,
        slices: 3,
        steps: 2,
        validation_share: 0.3,
        sites: &[
            SimulatedSite::training("north", 3).lacking(&["bravo"]),
            SimulatedSite::training("west", 3)
                .lacking(&["t1_pre", "flair"])
                .on_device("vulkan"),
        ],
    };
    simulation.toml()
}

/// A software GPU is slow, and this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// A federation on a GPU whose faults a test turns on and off.
struct Machine {
    folder: tempfile::TempDir,
    /// The library of the driver behind ours.
    driver: PathBuf,
}

impl Machine {
    /// `None`, with a message, without a Vulkan driver or in a build without Vulkan.
    fn new() -> Option<Self> {
        let skip = |why: &str| {
            eprintln!("SKIPPED, NOTHING WAS CHECKED: {why}");
            None
        };
        let Ok(description) = std::env::var("VK_DRIVER_FILES") else {
            return skip("VK_DRIVER_FILES names no Vulkan driver");
        };
        let Ok(description) = std::fs::read(&description) else {
            return skip("the Vulkan driver that VK_DRIVER_FILES names is not there");
        };
        let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
        let driver = description["ICD"]["library_path"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let machine = Self {
            driver: driver.into(),
            folder,
        };
        machine.build_driver();
        std::fs::write(machine.path("federation.toml"), settings()).unwrap();
        // A GPU that no machine has is enough to hear how many there are.
        let doctor = machine
            .command("site-agent")
            .args(["doctor", "--device", "vulkan:77"])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&doctor.stdout).into_owned()
            + &String::from_utf8_lossy(&doctor.stderr);
        if words.contains("built without vulkan") {
            return skip("these programs are not for Vulkan");
        }
        assert!(words.contains("asked for, but 1 answer"), "{words}");
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn build_driver(&self) {
        compile_c("vulkan_driver.c", &self.path("driver.so"));
        let description = serde_json::json!({
            "file_format_version": "1.0.0",
            "ICD": { "api_version": "1.1.230", "library_path": self.path("driver.so") },
        });
        std::fs::write(self.path("driver.json"), description.to_string()).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command
            .env("VK_DRIVER_FILES", self.path("driver.json"))
            .env("CARD_DRIVER", &self.driver)
            .env("GPU_FAULT", self.path("fault"))
            .env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    /// Starts or continues the federation. Its output goes into the file `said`.
    fn start(&self) -> Running {
        let said = self.path("said");
        let file = File::create(&said).unwrap();
        let child = self
            .command("coordinator")
            .arg("simulate")
            .args([
                self.path("federation.toml"),
                "--out".into(),
                self.path("run"),
            ])
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Running { child, said }
    }

    fn set_fault(&self, letter: &str) {
        std::fs::write(self.path("fault"), letter).unwrap();
    }

    fn end_fault(&self) {
        std::fs::remove_file(self.path("fault")).unwrap();
    }

    fn site_log(&self) -> String {
        std::fs::read_to_string(self.path("run/sites/west/agent.log")).unwrap()
    }
}

struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Waits until the coordinator has said this.
    fn wait_for(&mut self, words: &str) {
        let start = Instant::now();
        while !self.said().contains(words) {
            let ended = self.child.try_wait().unwrap().is_some();
            let over = ended || start.elapsed() > PATIENCE;
            // What is said last may come between the two looks.
            assert!(
                !over || self.said().contains(words),
                "no {words:?} in: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn a_gpu_without_free_memory_loses_its_round_and_takes_part_in_the_next() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let mut running = machine.start();
    running.wait_for("federation: round 1 of 3");
    machine.set_fault("m");
    running.wait_for("west failed");
    machine.end_fault();
    assert!(running.end().success(), "{}", running.said());
    let said = running.said();
    let failed = said.lines().find(|line| line.contains("west failed"));
    let failed = failed.unwrap();
    assert!(
        failed.contains("the device has too little memory"),
        "{failed}"
    );
    assert!(failed.contains("4 slices of 32 x 32 pixels"), "{failed}");
    assert!(said.contains("west: update accepted"), "{said}");
    assert!(!machine.site_log().contains("panicked at"));
}

#[test]
fn a_lost_gpu_ends_its_site_with_clear_words_and_the_same_command_goes_on() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let mut running = machine.start();
    running.wait_for("round 1 finished: 2 updates");
    machine.set_fault("l");
    let ended = running.end();
    let said = running.said();
    assert_eq!(ended.code(), Some(5), "{said}");
    assert!(said.contains("the device no longer works"), "{said}");
    assert!(said.contains("west failed: the device failed"), "{said}");
    assert!(!machine.site_log().contains("panicked at"));
    machine.end_fault();
    let mut running = machine.start();
    assert!(running.end().success(), "{}", running.said());
    let said = running.said();
    assert!(said.contains("west: update accepted"), "{said}");
    assert!(!said.contains("federation: round 1 of 3"), "{said}");
}
