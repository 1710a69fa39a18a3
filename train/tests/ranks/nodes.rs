//! Ranks on two machines, as docs/multi-gpu.md starts them: machines are folders of their own on loopback, and network namespaces.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ddae_tests::programs::{self, Ended, Running};

use crate::program::{Place, Saved};
use crate::runs::{COMMON, with};

const LAST: &str = "checkpoints/epoch_0003.safetensors";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

/// The only machine that the weights are written on is that of rank 0, and they are those of one machine with as many ranks.
#[track_caller]
fn assert_as_on_one_machine(nodes: &[Place; 2], ranks: &str) {
    let [first, second] = nodes;
    assert!(!second.path("run").exists(), "only rank 0 writes");
    first.train(&with(&COMMON, &["--run", "one", "--nproc", ranks, "--batch-of", "all"]));
    first.checkpoint(&format!("run/{LAST}")).assert_same(&first.checkpoint(&format!("one/{LAST}")));
}

/// By the variables that slurm-train.sh sets: two machines, two ranks on each, and no file that both see.
#[test]
fn machines_with_folders_of_their_own_make_the_weights_of_one() {
    let nodes = [Place::new(), Place::new()];
    let port = free_port();
    let arguments = with(&COMMON, &["--batch-of", "all"]);
    let mut ranks = Vec::new();
    for rank in 0..4 {
        let mut command = nodes[rank / 2].command(&arguments);
        let variables =
            [("RANK", rank), ("WORLD_SIZE", 4), ("LOCAL_RANK", rank % 2), ("LOCAL_WORLD_SIZE", 2)];
        command.envs(variables.map(|(name, value)| (name, value.to_string())));
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", port.to_string());
        command.env("GLOO_SOCKET_IFNAME", "lo");
        ranks.push(Running::start(&mut command));
    }
    for rank in ranks {
        rank.wait().success();
    }
    assert_as_on_one_machine(&nodes, "4");
}

/// Two network namespaces, which a cable of their own connects: 10.77.0.1 (`node0`) and 10.77.0.2 (`node1`). The command runs as one
/// rank in each of them, in the folders FIRST and SECOND; what they say goes to `said` there, and when they have ended to `ended`.
/// With CUT, the cable is drawn once the statistics have so many lines, or the first has ended; when goes to FIRST/cut.
const TWO_MACHINES: &str = r#"
    export WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=10.77.0.1 MASTER_PORT=29500
    unshare -n sh -c '
        until ip link show node1; do sleep 0.01; done > /dev/null 2>&1
        ip addr add 10.77.0.2/24 dev node1 && ip link set node1 up && ip link set lo up || exit 99
        [ $# -gt 0 ] || exit 0
        cd "$SECOND"
        RANK=1 GLOO_SOCKET_IFNAME=node1 "$@" 2> said
        echo $? > code; date +%s%N > ended
    ' far "$@" & second=$!
    ip link add node0 type veth peer name node1 || exit 99
    ip addr add 10.77.0.1/24 dev node0 && ip link set node0 up && ip link set lo up || exit 99
    # Until it is there: its namespace may be this one still.
    while ip link show node1 > /dev/null 2>&1; do ip link set node1 netns $second || exit 99; done
    [ $# -gt 0 ] || { wait $second; exit; }
    (cd "$FIRST"; RANK=0 GLOO_SOCKET_IFNAME=node0 "$@" 2> said; echo $? > code; date +%s%N > ended) & first=$!
    if [ -n "$CUT" ]; then
        until [ "$(wc -l < "$FIRST/run/stats.jsonl")" -ge "$CUT" ]; do
            kill -0 $first || break
            sleep 0.05
        done 2> /dev/null
        date +%s%N > "$FIRST/cut"
        ip link set node0 down
    fi
    wait $first $second
"#;

/// Whatever ends the first of its processes ends all of them. Its /proc is that of the whole system, since containers refuse another.
fn two_machines() -> Command {
    let mut command = Command::new("unshare");
    command.args(["-rn", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", TWO_MACHINES, "two-machines"]).stdin(Stdio::null());
    command
}

/// Says that something is not tested, since this system lets no namespace have what it wants. Where `DDAE_NEEDS_NAMESPACES` is set, that
/// is a failure.
#[track_caller]
pub fn not_tested(wanted: &str) {
    let told = format!("not tested: this system lets no namespace have {wanted}");
    assert!(std::env::var_os("DDAE_NEEDS_NAMESPACES").is_none(), "{told}");
    eprintln!("{told}");
}

/// Whether this system has such namespaces; otherwise says so.
fn has_namespaces() -> bool {
    let mut probe = two_machines();
    let has = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !has {
        not_tested("processes and a network of its own (unshare -rn --pid, ip link add type veth)");
    }
    has
}

/// What the ranks of both machines say and end with.
fn on_two_machines(nodes: &[Place; 2], arguments: &[&str], cut: &str) -> [Ended; 2] {
    let program = nodes[0].command(arguments);
    let mut command = two_machines();
    command.arg(program.get_program()).args(program.get_args()).env_remove("DDAE_DATA").env("CUT", cut);
    command.env("FIRST", nodes[0].path("")).env("SECOND", nodes[1].path(""));
    let ended = programs::run(&mut command);
    assert_eq!(ended.code, Some(0), "{ended}");
    nodes.each_ref().map(|node| {
        let text = |name: &str| fs::read_to_string(node.path(name)).unwrap_or_default();
        let code = text("code").trim().parse().ok();
        Ended { command: ended.command.clone(), code, stdout: String::new(), stderr: text("said") }
    })
}

#[test]
fn machines_with_networks_of_their_own_make_the_weights_of_one() {
    if !has_namespaces() {
        return;
    }
    let nodes = [Place::new(), Place::new()];
    for ended in on_two_machines(&nodes, &with(&COMMON, &["--batch-of", "all"]), "") {
        ended.success();
    }
    assert_as_on_one_machine(&nodes, "2");
}

/// No process ends and no connection breaks: nothing comes through any more.
#[test]
fn machines_whose_network_is_cut_end_within_a_minute_and_name_each_other() {
    if !has_namespaces() {
        return;
    }
    let nodes = [Place::new(), Place::new()];
    let arguments = with(&COMMON, &["--epochs", "4000", "--rank-timeout", "10"]);
    let [first, second] = on_two_machines(&nodes, &arguments, "3");
    let wanted = "error: rank 1 of 2 was lost: no sign of life for ";
    assert!(first.error(&[1]).starts_with(wanted), "{first}");
    let wanted = "error: rank 0 of 2 was lost: its store at 10.77.0.1:29500 has not answered for ";
    assert!(second.error(&[1]).starts_with(wanted), "{second}");
    let time = |node: &Place, name: &str| -> u64 {
        fs::read_to_string(node.path(name)).expect("a time").trim().parse().expect("nanoseconds")
    };
    let cut = time(&nodes[0], "cut");
    let took = nodes.each_ref().map(|node| Duration::from_nanos(time(node, "ended") - cut));
    assert!(took.iter().all(|took| *took < Duration::from_secs(60)), "{took:?}: {first}{second}");
}

/// As `torchrun` starts them on two machines: `DDAE_TORCHRUN=… cargo test -p ddae-train --test ranks -- --ignored torchrun`.
#[test]
#[ignore = "wants DDAE_TORCHRUN=…/bin/torchrun, of PyTorch from pip"]
fn torchrun_starts_ranks_on_two_machines() {
    let torchrun = std::env::var_os("DDAE_TORCHRUN").expect("DDAE_TORCHRUN=PATH");
    let nodes = [Place::new(), Place::new()];
    let endpoint = format!("127.0.0.1:{}", free_port());
    let arguments = with(&COMMON, &["--batch-of", "all"]);
    let start = |node: usize| {
        let program = nodes[node].command(&arguments);
        let mut command = Command::new(Path::new(&torchrun));
        command.current_dir(nodes[node].path("")).env_remove("DDAE_DATA").env("GLOO_SOCKET_IFNAME", "lo");
        command.args([
            "--no-python",
            "--nnodes",
            "2",
            "--node-rank",
            &node.to_string(),
            "--nproc-per-node",
            "2",
        ]);
        command.args(["--rdzv-backend", "c10d", "--rdzv-endpoint", &endpoint, "--rdzv-id", "run1"]);
        command.args(["--local-addr", "127.0.0.1", "--max-restarts", "3", "--"]);
        command.arg(program.get_program()).args(program.get_args());
        Running::start(&mut command)
    };
    let torchruns = [start(0), start(1)];
    for ended in torchruns.map(Running::wait) {
        ended.success();
    }
    // Rank 0 may be on either.
    let [first, second] = &nodes;
    let written = [first, second].into_iter().find(|node| node.path("run").exists()).expect("a run");
    assert!(!(first.path("run").exists() && second.path("run").exists()), "only rank 0 writes");
    first.train(&with(&COMMON, &["--run", "one", "--nproc", "4", "--batch-of", "all"]));
    Saved::read(&written.path(&format!("run/{LAST}"))).assert_same(&first.checkpoint(&format!("one/{LAST}")));
}
