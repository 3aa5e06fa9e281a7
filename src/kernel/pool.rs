//! A small fork-join pool for work of microseconds.
//! Knows nothing of what it runs.
#![expect(
    unsafe_code,
    reason = "lends a borrowed closure to threads that outlive the call's type"
)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Long enough to catch the next layer of the same image, short enough to cost an idle machine nothing.
const SPIN: Duration = Duration::from_micros(60);

/// How much of that is spent without offering the core to others.
const BUSY: Duration = Duration::from_micros(5);

/// What a pool runs: (task, worker).
type Work = dyn Fn(usize, usize) + Sync;

/// Threads that wait for work; the caller is worker 0.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// The current call's number, whether workers may still join it, and how many are inside:
    /// multiples of `ROUND`, `OPEN`, and the rest. `CLOSED` ends the pool.
    gate: AtomicUsize,
    /// Set before the gate opens; read only by those inside.
    call: Mutex<Option<Call>>,
    next_task: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    parked: Vec<AtomicBool>,
    caller: Mutex<Option<Thread>>,
}

const INSIDE: usize = 0xffff;
const OPEN: usize = 0x1_0000;
const CLOSED: usize = 0x2_0000;
const ROUND: usize = 0x4_0000;

#[derive(Clone, Copy)]
struct Call {
    work: *const Work,
    tasks: usize,
}

// SAFETY: `work` is `Sync`, and `run` does not return before every worker that joined has left.
unsafe impl Send for Call {}

impl Pool {
    /// A pool of `threads` (at least 1), the caller's included.
    pub fn new(threads: usize) -> Self {
        let extra = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicUsize::new(0),
            call: Mutex::new(None),
            next_task: AtomicUsize::new(0),
            panic: Mutex::new(None),
            parked: (0..extra).map(|_| AtomicBool::new(false)).collect(),
            caller: Mutex::new(None),
        });
        let workers = (0..extra)
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name(format!("kernel-{}", i + 1))
                    .spawn(move || shared.serve(i))
                    .ok()
            })
            .collect();
        Self { shared, workers }
    }

    /// Threads that take part, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(task, worker)` once for each task in 0 .. `tasks`, on all threads, and waits.
    /// A worker that wakes up too late to find a task is not waited for.
    /// Which worker takes a task is not determined; `worker` is below `threads()` and no two calls
    /// with the same worker overlap. A panic in a task comes out here, after the others have ended.
    pub fn run(&mut self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(|task| work(task, 0));
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes, and every use has ended when the wait below has.
        let work: &'static Work = unsafe { std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), &'static Work>(work) };
        let call = Call { work, tasks };
        *lock(&shared.caller) = Some(thread::current());
        *lock(&shared.call) = Some(call);
        shared.next_task.store(0, Ordering::Relaxed);
        // Nobody is inside: the call before this waited for that.
        let round = shared.gate.load(Ordering::Relaxed) / ROUND;
        shared
            .gate
            .store(round.wrapping_add(1).wrapping_mul(ROUND) | OPEN, Ordering::SeqCst);
        for (parked, worker) in shared.parked.iter().zip(&self.workers) {
            if parked.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        shared.take_tasks(call, 0);
        shared.gate.fetch_and(!OPEN, Ordering::SeqCst);
        wait_until(|| shared.gate.load(Ordering::SeqCst) & INSIDE == 0, thread::park);
        *lock(&shared.call) = None;
        if let Some(panic) = lock(&shared.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Calls `work(i, &mut items[i])` for each item, on all threads.
    pub fn run_mut<T: Send>(&mut self, items: &mut [T], work: &(dyn Fn(usize, &mut T) + Sync)) {
        let at = SharedPointer(items.as_mut_ptr());
        self.run(items.len(), &|task, _| {
            // SAFETY: each task is run once, so each item is borrowed once; `T: Send` lets any thread have it.
            work(task, unsafe { &mut *at.get().add(task) })
        });
    }

    /// Calls `work(task, &mut states[worker])`: scratch per thread. Needs `threads()` states.
    pub fn run_with<S: Send>(&mut self, states: &mut [S], tasks: usize, work: &(dyn Fn(usize, &mut S) + Sync)) {
        assert!(states.len() >= self.threads(), "a state per thread");
        let at = SharedPointer(states.as_mut_ptr());
        self.run(tasks, &|task, worker| {
            // SAFETY: calls with the same worker do not overlap; `S: Send` lets any thread have the state.
            work(task, unsafe { &mut *at.get().add(worker) })
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.gate.fetch_or(CLOSED, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // Panics of tasks are caught, so a worker has nothing to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            let calls = || {
                let gate = self.gate.load(Ordering::SeqCst);
                (gate & CLOSED != 0 || (gate & OPEN != 0 && gate / ROUND != seen)).then_some(gate)
            };
            wait_until(
                || calls().is_some(),
                || {
                    self.parked[index].store(true, Ordering::SeqCst);
                    // Looked at again after the flag is up: whoever opens the gate after this sees it.
                    if calls().is_none() {
                        thread::park();
                    }
                    self.parked[index].store(false, Ordering::SeqCst);
                },
            );
            let Some(gate) = calls() else { continue };
            if gate & CLOSED != 0 {
                return;
            }
            let joined = self
                .gate
                .compare_exchange(gate, gate + 1, Ordering::SeqCst, Ordering::SeqCst);
            if joined.is_err() {
                continue;
            }
            seen = gate / ROUND;
            let call = *lock(&self.call);
            if let Some(call) = call {
                self.take_tasks(call, index + 1);
            }
            let caller = lock(&self.caller).clone();
            let left = self.gate.fetch_sub(1, Ordering::SeqCst) - 1;
            if left & (INSIDE | OPEN) == 0
                && let Some(caller) = caller
            {
                caller.unpark();
            }
        }
    }

    fn take_tasks(&self, call: Call, worker: usize) {
        // SAFETY: `run` is still waiting for this worker.
        let work = unsafe { &*call.work };
        let all = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next_task.fetch_add(1, Ordering::Relaxed);
                if task >= call.tasks {
                    return;
                }
                work(task, worker);
            }
        }));
        if let Err(panic) = all {
            lock(&self.panic).get_or_insert(panic);
        }
    }
}

/// A pointer that tasks share, each to touch its own places behind it.
pub(crate) struct SharedPointer<T>(pub *mut T);
// SAFETY: sharing the address is harmless; whoever follows it says why no other task is there.
unsafe impl<T> Sync for SharedPointer<T> {}
impl<T> SharedPointer<T> {
    /// A method, so that closures capture the wrapper and not the bare pointer.
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

/// Spins for a while, then sleeps with `park` (which may return for no reason).
fn wait_until(done: impl Fn() -> bool, park: impl Fn()) {
    let start = Instant::now();
    while start.elapsed() < SPIN {
        for _ in 0..32 {
            if done() {
                return;
            }
            std::hint::spin_loop();
        }
        // Whoever is waited for may need this very core.
        if start.elapsed() > BUSY {
            thread::yield_now();
        }
    }
    while !done() {
        park();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_runs_once() {
        for threads in [1, 2, 3, 5] {
            let mut pool = Pool::new(threads);
            for tasks in [0, 1, 2, 7, 100] {
                let mut hits = vec![0u32; tasks];
                pool.run_mut(&mut hits, &|i, hit| *hit += i as u32 + 1);
                assert!(hits.iter().enumerate().all(|(i, &hit)| hit == i as u32 + 1));
            }
        }
    }

    #[test]
    fn states_are_never_shared() {
        let mut pool = Pool::new(3);
        let mut counts = vec![0usize; 3];
        for _ in 0..200 {
            pool.run_with(&mut counts, 17, &|_, count| *count += 1);
        }
        assert_eq!(counts.iter().sum::<usize>(), 200 * 17);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let mut pool = Pool::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, &|task, _| assert_ne!(task, 3, "three"))
        }));
        assert!(caught.is_err());
        let mut items = [1, 2, 3];
        pool.run_mut(&mut items, &|_, item| *item *= 2);
        assert_eq!(items, [2, 4, 6]);
    }
}
