//! Simulations with a coordinator and agents that only pretend.

use super::*;
use std::os::unix::fs::PermissionsExt;

const CONFIG: &str = "name = 'x'\nrounds = 1\n[input]\nsequences = ['bravo', 'flair']\n\
    [[simulate.sites]]\nname = 'north'\nrole = 'train'\ncases = 1\n\
    [[simulate.sites]]\nname = 'south'\nrole = 'evaluate'\ncases = 1\nlacks = ['flair']\n";

/// Writes each cohort it is asked for, then does `run` as an agent.
fn simulation(folder: &std::path::Path, run: &str) -> Simulation {
    let agent = folder.join("agent.sh");
    let script = format!(
        "#!/bin/sh\nif [ $1 = phantom ]; then\n  site=$(basename $(dirname $3))\n  mkdir -p \
         $5/$site\n  printf '[data]\\nroot = \"%s\"\\n' $5/$site > $5/$site/data.toml\n  exit \
         0\nfi\n{run}\n"
    );
    std::fs::write(&agent, script).unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let plan = Plan::from_toml(CONFIG, 2).unwrap();
    let folder = Folder::open(&folder.join("run"), &plan, None).unwrap();
    Simulation {
        plan,
        folder,
        agent,
        with_local: true,
        start: None,
    }
}

fn outcome(simulation: &Simulation) -> Outcome {
    Outcome {
        federation: simulation.plan.federation.clone(),
        sites: Vec::new(),
        runs: Vec::new(),
        seconds: 1.0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_learn_where_the_coordinator_is_and_the_outcome_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let simulation = simulation(folder.path(), "grep coordinator $3");
    let expected = outcome(&simulation);
    let (served, address) = (
        expected.clone(),
        std::sync::Arc::new(std::sync::Mutex::new(None)),
    );
    let seen = address.clone();
    let found = simulation
        .run(|request, _, _| {
            *seen.lock().unwrap() = Some(request.listen);
            assert!(request.with_local && request.certificates.join("key.pem").exists());
            async { Ok(served) }
        })
        .await
        .unwrap();
    assert_eq!(found, expected);
    let address = address.lock().unwrap().unwrap();
    for site in ["north", "south"] {
        let log = std::fs::read_to_string(simulation.folder.log(site)).unwrap();
        assert!(
            log.contains(&format!("coordinator = \"{address}\"")),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agents_failure_stops_the_coordinator_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let simulation = simulation(
        folder.path(),
        "case $3 in *north*) echo no cases left; exit 4;; esac\nexec sleep 600",
    );
    let failure = simulation
        .run(|_, _, mut stop| async move {
            let _ = stop.wait_for(Option::is_some).await;
            Err(Failure::new(Class::Federation, "stopped"))
        })
        .await
        .unwrap_err();
    assert_eq!(failure.class, Class::Data);
    assert!(
        failure.what.contains("the agent of north") && failure.what.contains("no cases left"),
        "{}",
        failure.what
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_dropped_sites_agent_ends_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let simulation = simulation(
        folder.path(),
        "case $3 in *north*) sleep 0.1; exit 5;; esac",
    );
    let expected = outcome(&simulation);
    let served = expected.clone();
    let ran = simulation.run(|_, happen, _| async move {
        happen
            .send(Notification::Dropped {
                site: "north".parse().unwrap(),
            })
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(served)
    });
    assert_eq!(ran.await.unwrap(), expected);
}
