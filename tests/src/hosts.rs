//! Several hosts of one machine: each with a network, a hostname, process ids, temporary folders, a home and a monotonic
//! clock of its own.
//!
//! They are namespaces without names, so that nothing has to be taken down: the kernel ends all of it with the process
//! that made it, however that ends.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::skip::leave_out;
use crate::{children, mark, staged};

/// What a host's first process does. The folders that are named stay what they are on the machine; one is empty.
const INIT: &str = r#"
hostname "$1"
empty=$2
shift 2
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/machine /mnt/home
mount --rbind / /mnt/machine
for folder in /tmp /var/tmp /dev/shm; do
    [ -d "$folder" ] && mount -t tmpfs -o mode=1777 tmpfs "$folder"
done
for folder in "$@"; do
    mkdir -p "$folder"
    mount --rbind "/mnt/machine$folder" "$folder"
done
umount -l /mnt/machine
if [ -d "$empty" ]; then mount -t tmpfs tmpfs "$empty"; fi
ip link set lo up
echo up
trap : CHLD
while :; do sleep 1000 & wait $! || :; done
"#;

/// The network between them. It has nothing of theirs to do.
const SWITCH: &str =
    "ip link set lo up; ip link add br0 type bridge; ip link set br0 up; echo up; exec sleep infinity";

/// The same where each frame takes a while: a switch of TAP devices, for kernels without netem. After the milliseconds it
/// is told how many hosts there are.
const SLOW_SWITCH: &str = r#"exec python3 -c '
import collections, fcntl, os, select, struct, sys, time
delay, ports = float(sys.argv[1]) / 1000, []
for number in range(int(sys.argv[2])):
    ports.append(os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
    fcntl.ioctl(ports[-1], 0x400454CA, struct.pack("16sH22x", b"port%d" % (number + 1), 0x1002))
print("up", flush=True)
known, under_way = {}, collections.deque()
while True:
    wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
    for port in select.select(ports, [], [], wait)[0]:
        try:
            frame = os.read(port, 1 << 17)
        except OSError:
            sys.exit()  # the host is gone
        known[frame[6:12]] = port
        to = [known[frame[:6]]] if frame[:6] in known else [other for other in ports if other != port]
        under_way.append((time.monotonic() + delay, frame, to))
    while under_way and under_way[0][0] <= time.monotonic():
        _, frame, to = under_way.popleft()
        for port in to:
            try:
                os.write(port, frame)
            except OSError:
                pass  # its host is down
' "$@""#;

/// One of them.
pub struct Host {
    pub name: String,
    pub address: String,
    unshare: Child,
    /// Its first process, by its number on the machine.
    init: u32,
}

/// All of them. They end with this.
pub struct Hosts {
    hosts: Vec<Host>,
    switch: Child,
    /// The variable `MARK` of every process.
    pub mark: String,
}

impl Hosts {
    /// As many as there are numbers: by so many seconds each clock is ahead. `shared` are folders that they all see; the
    /// environments of runtimes are on each of them, bench is on the first alone.
    /// `None` where nobody may make namespaces, which is said.
    #[must_use]
    pub fn start(ahead: &[u32], shared: &[PathBuf]) -> Option<Self> {
        Self::apart(ahead, shared, None)
    }

    /// The same, where everything that one sends takes so many milliseconds to another.
    #[must_use]
    pub fn far(ahead: &[u32], shared: &[PathBuf], delay_ms: u32) -> Option<Self> {
        Self::apart(ahead, shared, Some(delay_ms))
    }

    fn apart(ahead: &[u32], shared: &[PathBuf], delay_ms: Option<u32>) -> Option<Self> {
        let may = ["--mount", "--net", "--pid", "--uts", "--ipc", "--time", "--fork", "sh", "-ec"];
        let may = Command::new("unshare")
            .args(may)
            .arg("mount -t tmpfs tmpfs /mnt; ip link add br0 type bridge")
            .output();
        if !may.as_ref().is_ok_and(|may| may.status.success()) {
            leave_out("namespaces and networks for several hosts cannot be made here");
            return None;
        }
        let mark = mark();
        let (delay, count) = (delay_ms.unwrap_or_default().to_string(), ahead.len().to_string());
        let script = if delay_ms.is_some() { SLOW_SWITCH } else { SWITCH };
        let mut switch = unshared(&["--net", "--pid"], script, &[&delay, &count], &mark);
        up(&mut switch);
        let [bridge] = children(switch.id())[..] else { panic!("the switch has one process") };
        let text = |folder: PathBuf| {
            let folder = folder.canonicalize().expect("a shared folder is there");
            folder.to_str().expect("its path is text").to_owned()
        };
        let data = std::env::var_os("BENCH_DATA_DIR").map(PathBuf::from);
        let kept: Vec<String> = data.into_iter().chain(shared.iter().cloned()).map(text).collect();
        let bench = text(staged());
        let hosts = ahead.iter().zip(1_u8..).map(|(ahead, number)| {
            let (name, address) = (format!("host{number}"), format!("10.77.0.{number}"));
            let clock = format!("--monotonic={ahead}");
            let apart = ["--mount", "--mount-proc", "--net", "--pid", "--uts", "--ipc", "--time", &clock];
            let (empty, there) =
                if number == 1 { ("", Some(bench.as_str())) } else { (bench.as_str(), None) };
            let folders = kept.iter().map(String::as_str).chain(there);
            let arguments: Vec<&str> = [name.as_str(), empty].into_iter().chain(folders).collect();
            let mut unshare = unshared(&apart, INIT, &arguments, &mark);
            up(&mut unshare);
            let [init] = children(unshare.id())[..] else { panic!("a host has one first process") };
            let (port, bridge_ns, host_ns) = (format!("port{number}"), bridge.to_string(), init.to_string());
            let nsenter = |process: &str, line: &str| {
                let words = ["--target", process, "--net", "sh", "-ec", line];
                assert!(
                    Command::new("nsenter").args(words).status().expect("nsenter is there").success(),
                    "{line}"
                );
            };
            let connect = match delay_ms {
                Some(_) => format!("ip link set {port} netns {host_ns} name eth0"),
                None => format!(
                    "ip link add {port} type veth peer name eth0 netns {host_ns}; ip link set {port} master br0 up"
                ),
            };
            nsenter(&bridge_ns, &connect);
            nsenter(&host_ns, &format!("ip addr add {address}/24 dev eth0; ip link set eth0 up"));
            Host { name, address, unshare, init }
        });
        Some(Self { hosts: hosts.collect(), switch, mark })
    }

    /// One of them, from 0.
    #[must_use]
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// A shell there, with a home of its own and nothing of this environment.
    #[must_use]
    pub fn on(&self, number: usize, script: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--target", &self.hosts[number].init.to_string()]);
        command.args([
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
            "--time",
            "--",
            "env",
            "-i",
            "--chdir=/mnt/home",
        ]);
        let path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
        let bin = staged().canonicalize().expect("it is staged").join("bin");
        command.arg(format!("PATH={}:{path}", bin.display())).arg(format!("MARK={}", self.mark));
        command.args(["HOME=/mnt/home", "LANG=C.UTF-8", "NO_COLOR=1"]);
        let data = std::env::var_os("BENCH_DATA_DIR")
            .map(|data| PathBuf::from(data).canonicalize().expect("it is there"));
        command.args(data.map(|data| format!("BENCH_DATA_DIR={}", data.display())));
        command.args(["sh", "-euc", script]);
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for process in self.hosts.iter_mut().map(|host| &mut host.unshare).chain([&mut self.switch]) {
            // The kernel ends what is in it.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A shell in new namespaces, which ends with this thread and takes everything in them along.
fn unshared(apart: &[&str], script: &str, arguments: &[&str], mark: &str) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--fork", "--kill-child"]).args(apart);
    command.args(["sh", "-euc", script, "init"]).args(arguments).env("MARK", mark);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("unshare was there before")
}

/// Waits until a script says that it is.
fn up(process: &mut Child) {
    let mut line = String::new();
    let stdout = process.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it can be read");
    assert_eq!(line, "up\n", "a host did not come up");
}
