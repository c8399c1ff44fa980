//! Three network namespaces: one for each end of a line, and between them the line itself, a bridge
//! whose ports netem makes bad. A line of its own, because netem at an end would lose what the
//! program hands over at once, many packets together.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// What begins the name of every namespace of ours; the process follows.
const PREFIX: &str = "lacuna-";
/// The line's ports: what goes through the first reaches the coordinator, what goes through the
/// second the sites.
const PORTS: [&str; 2] = ["near", "far"];
/// The ends' addresses.
const ADDRESSES: [&str; 2] = ["10.9.0.1/24", "10.9.0.2/24"];

/// The line. Dropped, it is gone with its namespaces.
pub(crate) struct Wire {
    /// The coordinator's namespace, and the sites'.
    ends: [String; 2],
    line: String,
}

/// Runs a command; in words what it said against it.
fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let command = format!("{program} {}", words.join(" "));
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| format!("{command}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command}: {}", words.trim().replace('\n', " ")))
    }
}

/// Runs `ip` or `tc` in a namespace, with arguments that are written in one.
fn within(program: &str, namespace: &str, arguments: &str) -> Result<(), String> {
    let words: Vec<&str> = ["-n", namespace]
        .into_iter()
        .chain(arguments.split_whitespace())
        .collect();
    run(program, &words)
}

/// Removes what killed tests left behind.
fn sweep() {
    let names = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        let process = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another test may have been faster.
            run("ip", &["netns", "del", &name]).ok();
        }
    }
}

impl Wire {
    /// Opens a good line; `None` where there can be none, which is said.
    pub(crate) fn open(name: &str) -> Option<Self> {
        sweep();
        let space = |part| format!("{PREFIX}{}-{name}-{part}", std::process::id());
        let wire = Self {
            ends: ["coordinator", "sites"].map(space),
            line: space("line"),
        };
        let Err(missing) = wire.build() else {
            return Some(wire);
        };
        let text =
            "SKIPPED, NOTHING WAS CHECKED: bad lines need root, ip, tc, and netem in the kernel";
        // Not by a macro for printing: of a test that passes, those are not shown.
        writeln!(std::io::stderr(), "{text} ({missing})").ok();
        None
    }

    fn build(&self) -> Result<(), String> {
        for space in self.ends.iter().chain([&self.line]) {
            run("ip", &["netns", "add", space])?;
        }
        let line = &self.line;
        within("ip", line, "link add bridge type bridge")?;
        within("ip", line, "link set bridge up")?;
        for ((end, port), address) in self.ends.iter().zip(PORTS).zip(ADDRESSES) {
            within(
                "ip",
                end,
                &format!("link add wire type veth peer name {port} netns {line}"),
            )?;
            // Packets leave one by one, so that one by one they are lost and take their time.
            within("ip", end, "link set wire gso_max_segs 1")?;
            within("ip", end, &format!("addr add {address} dev wire"))?;
            within("ip", end, "link set wire up")?;
            within("ip", end, "link set lo up")?;
            within("ip", line, &format!("link set {port} master bridge up"))?;
            within(
                "tc",
                line,
                &format!("qdisc add dev {port} root netem limit 1000"),
            )?;
        }
        Ok(())
    }

    /// How both directions are from now on, in netem's words: each time all of them.
    pub(crate) fn shape(&self, words: &str) {
        for port in PORTS {
            within(
                "tc",
                &self.line,
                &format!("qdisc change dev {port} root netem {words}"),
            )
            .unwrap();
        }
    }

    /// No UDP passes any more; all else does.
    pub(crate) fn drop_udp(&self) {
        for port in PORTS {
            let filter = "ingress protocol ip u32 match ip protocol 17 0xff action drop";
            within("tc", &self.line, &format!("qdisc add dev {port} clsact")).unwrap();
            within("tc", &self.line, &format!("filter add dev {port} {filter}")).unwrap();
        }
    }

    /// A command that runs a program at the coordinator's end (0) or the sites' (1).
    pub(crate) fn command(&self, end: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.ends[end]])
            .arg(program);
        command
    }

    /// The sites' end gets another address in place of the one it has.
    pub(crate) fn readdress(&self, address: &str) {
        within(
            "ip",
            &self.ends[1],
            &format!("addr del {} dev wire", ADDRESSES[1]),
        )
        .unwrap();
        within("ip", &self.ends[1], &format!("addr add {address} dev wire")).unwrap();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for space in self.ends.iter().chain([&self.line]) {
            // One that was never made is as good as gone.
            run("ip", &["netns", "del", space]).ok();
        }
    }
}
