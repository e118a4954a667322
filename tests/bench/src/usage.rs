//! What a process used, from its start to its end. Starts processes, reads `/proc`.

use std::fs;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::io::retry_on_intr;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How often the high-water mark of memory is read. It only rises, so what is missed is its rise in the last moment.
const SAMPLE: Duration = Duration::from_millis(20);

/// What a process used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// From start to end.
    pub wall: Duration,
    /// Processor time, user and system, of the process itself.
    pub own_cpu: Duration,
    /// Processor time of the children that it waited for.
    pub children_cpu: Duration,
    /// Most memory that it had at once (`VmHWM`), in bytes, without its children.
    pub peak_memory: u64,
    /// Most memory that it and its children were seen to have at once, in bytes; what they share counts for each.
    pub peak_together: u64,
    /// Bytes that it and its children made the kernel write to block devices, at once or later.
    pub written: u64,
}

impl Usage {
    /// Runs a program to its end.
    pub fn of(command: &mut Command) -> Result<(ExitStatus, Self)> {
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let (peak_memory, peak_together) = watch(&child)?;
        let wall = start.elapsed();
        // Ended, but not yet waited for: the kernel still knows all about it.
        let (own_cpu, children_cpu) = cpu(child.id())?;
        let written = field(&format!("/proc/{}/io", child.id()), "write_bytes:")?;
        let status = child.wait()?;
        Ok((status, Self { wall, own_cpu, children_cpu, peak_memory, peak_together, written }))
    }

    /// The same for a program that must end well.
    pub fn of_success(command: &mut Command) -> Result<Self> {
        let (status, usage) = Self::of(command)?;
        anyhow::ensure!(status.success(), "{command:?} ended with {status}");
        Ok(usage)
    }

    /// Processor time of the process and its children.
    pub fn cpu(&self) -> Duration {
        self.own_cpu + self.children_cpu
    }
}

/// Waits for the end without reaping, and returns the highest memory that was seen, of itself and with its children.
fn watch(child: &Child) -> Result<(u64, u64)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
    let status = format!("/proc/{}/status", child.id());
    let (peak, together, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                // It has none any more in its last moments.
                if let Ok(kib) = field(&status, "VmHWM:") {
                    peak.fetch_max(kib * 1024, Ordering::Relaxed);
                }
                together.fetch_max(resident(child.id()), Ordering::Relaxed);
                thread::sleep(SAMPLE);
            }
        });
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let waited = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
        ended.store(true, Ordering::Relaxed);
        waited
    })?;
    Ok((peak.into_inner(), together.into_inner()))
}

/// Bytes of memory that a process and all that it started have now; 0 for one that is gone.
fn resident(pid: u32) -> u64 {
    let own = field(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or_default() * 1024;
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    children.fold(own, |sum, pids| {
        sum + pids.split_whitespace().filter_map(|pid| pid.parse().ok()).map(resident).sum::<u64>()
    })
}

/// Processor time of an ended process and of its children.
fn cpu(pid: u32) -> Result<(Duration, Duration)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before the bracket may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("an unknown /proc/PID/stat")?;
    let ticks: Vec<u32> = fields.split_whitespace().skip(11).take(4).map_while(|n| n.parse().ok()).collect();
    let [user, system, children_user, children_system] = ticks[..] else {
        anyhow::bail!("an unknown /proc/PID/stat: {stat}");
    };
    let tick = Duration::from_secs(1) / u32::try_from(clock_ticks_per_second())?;
    Ok(((user + system) * tick, (children_user + children_system) * tick))
}

/// The first number behind a name in a file of `/proc`.
pub fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path} has no {name}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shell(script: &str, directory: &Path) -> Usage {
        Usage::of_success(Command::new("bash").args(["-c", script]).current_dir(directory)).unwrap()
    }

    #[test]
    fn what_a_process_does_is_what_it_used() {
        let on_disk = tempfile::tempdir_in(".").unwrap();
        let busy = "for ((i = 0; i < 200000; i++)); do :; done";
        let own = shell(busy, on_disk.path());
        assert!(own.own_cpu > Duration::ZERO && own.children_cpu < own.own_cpu / 2, "{own:?}");
        let child = shell(&format!("bash -c '{busy}'; exit 0"), on_disk.path());
        assert!(child.own_cpu < child.children_cpu / 2, "{child:?}");
        // Its own, and of a child that it waited for.
        assert_eq!(own.written, 0);
        let wrote = shell("printf '%8000d' 1 > a; sh -c 'printf %8000d 1 > b'", on_disk.path());
        assert!((16_000..200_000).contains(&wrote.written), "{wrote:?}");
        let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
        assert_eq!(shell("printf '%8000d' 1 > a", in_memory.path()).written, 0);
        // A variable of 100 MB, held for some samples.
        let large = shell("printf -v large '%100000000d' 1; sleep 1", on_disk.path());
        assert!((100_000_000..500_000_000).contains(&large.peak_memory), "{large:?}");
        assert!(large.wall >= Duration::from_secs(1));
        // The child holds most of it: not the process itself, for which bash needs twice its variable for a moment.
        let held_by_child =
            "printf -v few '%5000000d' 1; bash -c 'printf -v many %100000000d 1; sleep 1'; exit 0";
        let both = shell(held_by_child, on_disk.path());
        assert!(both.peak_memory < 50_000_000 && both.peak_together > 100_000_000, "{both:?}");
    }
}
