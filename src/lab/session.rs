//! The whole engine behind three methods: submit, pump, store.
//! Knows nothing of windows; it calls `wake` when something arrived.

use crate::Workspace;
use crate::command::Command;
use crate::execute::{begin, branch, panic_text, resume};
use crate::fork::Fork;
use crate::jobs;
use crate::jobs::{JobResult, ModelJob};
use crate::store::RunStore;
use crossbeam_channel::{Receiver, Sender, bounded};
use event::{Stamped, Steer};
use measure::probe::Response;
use measure::{Requests, probe};
use record::control::Control;
use record::control_file;
use record::control_file::ControlRequest;
use record::experiment::Experiment;
use record::folder::is_written;
use record::replay;
use record::replay::{replay, replay_to_end};
use record::tail::tail;
use record::{RunId, RunState, Status};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Events that may wait before a worker must. Enough for seconds of a hidden window.
const EVENTS: usize = 65_536;

/// Called from any thread when the session has something new.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

enum Message {
    Event(RunId, Stamped),
    Replayed(Box<RunState>),
    /// A fork stands ready, with what it took over.
    Branched(Box<RunState>),
    Past((RunId, u64), Option<Box<RunState>>),
    /// A run of this session has its folder.
    Made(RunId, PathBuf),
    Logged(PathBuf, Stamped),
    /// Another process no longer writes to a run folder.
    Left(PathBuf),
    /// Something outside runs did not work.
    Failed(String),
    Done(Box<JobResult>),
    /// The run could not even begin, or its thread is gone.
    Broken(RunId, String),
}

struct RunThread {
    control: Arc<Control>,
    thread: JoinHandle<()>,
}

/// Runs, questions and what is known of them. One per program.
pub struct Session {
    workspace: Workspace,
    wake: Wake,
    store: RunStore,
    messages: (Sender<Message>, Receiver<Message>),
    workers: BTreeMap<RunId, RunThread>,
    /// Run folders that are read and then to be gone on with.
    go_on: Vec<PathBuf>,
    /// Runs that wait to be made out of others.
    forks: BTreeMap<RunId, Fork>,
    /// The event that somebody looks back to.
    looks_back: Option<(RunId, u64)>,
    /// Whether a log is being read for that: one at a time, however fast a slider is drawn.
    reads_past: bool,
    requests: Arc<Requests>,
    responses: Receiver<Response>,
}

impl Session {
    /// A session that keeps runs in `workspace`.
    ///
    /// # Errors
    /// Cannot spawn a thread.
    pub fn new(mut workspace: Workspace, wake: Wake) -> anyhow::Result<Self> {
        workspace.runs = whole(workspace.runs);
        let requests = Arc::new(Requests::default());
        let (send, responses) = bounded(64);
        let (asked, ring) = (requests.clone(), wake.clone());
        Builder::new().name("probe".into()).spawn(move || {
            // A panic in the engine loses the open model, not the window.
            while let Err(panic) =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| probe::serve(&asked, &send, &*ring)))
            {
                drop(send.send(Response::Failed(format!("Measuring failed: {}", panic_text(&*panic)))));
                ring();
            }
        })?;
        Ok(Self {
            workspace,
            wake,
            store: RunStore::default(),
            messages: bounded(EVENTS),
            workers: BTreeMap::new(),
            go_on: Vec::new(),
            forks: BTreeMap::new(),
            looks_back: None,
            reads_past: false,
            requests,
            responses,
        })
    }

    /// All that is known.
    pub fn store(&self) -> &RunStore {
        &self.store
    }

    /// The folder that holds run folders.
    pub fn runs(&self) -> &Path {
        &self.workspace.runs
    }

    /// Does what a front asks. Never blocks on work.
    pub fn submit(&mut self, command: Command) {
        // What is asked of runs is meant of what they are.
        if matches!(
            command,
            Command::ResumeRun(_) | Command::OpenRun(_) | Command::Fork { .. }
        ) {
            self.travel(None);
        }
        match command {
            Command::Start(experiment) => self.start(*experiment),
            Command::Pause(id) => self.control(id, Status::Paused, Control::pause, &ControlRequest::Pause),
            Command::Resume(id) => self.control(id, Status::Running, Control::resume, &ControlRequest::Resume),
            Command::Stop(id) => self.stop(id),
            Command::Steer(id, steer) => self.steer(id, steer),
            Command::ResumeRun(folder) => self.go_on(whole(folder)),
            Command::OpenRun(folder) => self.open_run(whole(folder)),
            Command::Fork { origin, at, experiment } => self.fork(origin, at, *experiment),
            Command::Travel(to) => self.travel(to),
            Command::Open(from) => self.requests.open(from),
            Command::Ask(question) => self.requests.ask(question),
            Command::Look(image) => self.requests.look(image),
            Command::Work(job) => self.work(job),
        }
    }

    /// Folds what has arrived, for at most `budget`. True means that more is waiting.
    pub fn pump(&mut self, budget: Duration) -> bool {
        let until = Instant::now() + budget;
        while let Ok(response) = self.responses.try_recv() {
            match response {
                Response::Opened(model) => self.store.opened(model),
                Response::Answered(answer) => self.store.answered(answer),
                Response::Images(strip) => self.store.strip = Some(strip),
                Response::Looked(look) => self.store.look = Some(look),
                Response::Failed(text) => self.store.notice(text),
            }
        }
        while let Ok(message) = self.messages.1.try_recv() {
            match message {
                Message::Event(id, stamped) => self.store.apply(id, &stamped),
                Message::Replayed(run) => self.replayed(*run),
                Message::Branched(run) => {
                    if let Some(known) = self.store.runs.iter_mut().find(|r| r.id == run.id) {
                        *known = *run;
                    }
                }
                Message::Made(id, folder) => {
                    if let Some(run) = self.store.runs.iter_mut().find(|r| r.id == id) {
                        run.folder = Some(folder);
                    }
                }
                Message::Past(found, run) => {
                    self.reads_past = false;
                    if self.looks_back.is_some_and(|(id, _)| id == found.0) {
                        run.into_iter().for_each(|run| self.store.look_back(*run));
                    }
                    if self.looks_back != Some(found) {
                        self.read_past();
                    }
                }
                Message::Logged(folder, stamped) => {
                    // Whoever opens a run twice has it read twice.
                    let due = |id: &RunId| self.store.run(*id).is_some_and(|run| run.events == stamped.seq);
                    if let Some(id) = self.elsewhere(&folder).filter(due) {
                        self.store.apply(id, &stamped);
                    }
                }
                Message::Left(folder) => {
                    let live = |id: &RunId| self.store.run(*id).is_some_and(RunState::is_live);
                    if let Some(id) = self.elsewhere(&folder).filter(live) {
                        self.mark(id, Status::Interrupted);
                    }
                }
                Message::Failed(text) => self.store.notice(text),
                Message::Done(done) => self.store.done(*done),
                Message::Broken(id, text) => {
                    self.end_early(id);
                    self.store.notice(text);
                }
            }
            if Instant::now() >= until {
                return true;
            }
        }
        self.begin_next();
        false
    }

    /// A run whose events somebody outside says, through the channel that workers use: how the window itself is timed.
    pub fn feed(&mut self, experiment: Experiment) -> impl FnMut(Stamped) + Send + 'static {
        let id = RunId(self.store.runs.len() as u32);
        self.store.runs.push(RunState {
            status: Status::Running,
            ..RunState::new(id, Arc::new(experiment))
        });
        let (send, wake) = (self.messages.0.clone(), self.wake.clone());
        move |stamped| {
            drop(send.send(Message::Event(id, stamped)));
            wake();
        }
    }

    /// Does a job on a thread of its own. A panic is said like any other failure.
    fn work(&mut self, job: ModelJob) {
        let (send, wake) = (self.messages.0.clone(), self.wake.clone());
        let (runs, doing) = (self.workspace.runs.clone(), job.clone());
        let work = move || {
            let tried = std::panic::catch_unwind(|| jobs::work(doing.clone(), &runs));
            let done = tried.unwrap_or_else(|panic| JobResult {
                job: doing,
                said: Err(format!("it could not be done: {}", panic_text(&*panic))),
                model: None,
                times: None,
            });
            drop(send.send(Message::Done(Box::new(done))));
            wake();
        };
        match Builder::new().name("job".into()).spawn(work) {
            Ok(_) => self.store.working.push(job),
            Err(e) => self.store.notice(format!("cannot start: {e}")),
        }
    }

    /// Reads a run folder on a thread of its own: logs can be long.
    fn open_run(&mut self, folder: PathBuf) {
        let (send, wake) = (self.messages.0.clone(), self.wake.clone());
        let read = move || {
            let written = is_written(&folder);
            let (mut run, read) = match replay_to_end(RunId(0), &folder) {
                Ok(read) => read,
                Err(e) => {
                    drop(send.send(Message::Failed(format!("{e:#}"))));
                    return wake();
                }
            };
            if written && run.status == Status::Interrupted {
                run.status = Status::Running;
            }
            drop(send.send(Message::Replayed(Box::new(run))));
            wake();
            if written {
                tail(&folder, read, &mut |stamped| {
                    let sent = send.send(Message::Logged(folder.clone(), stamped)).is_ok();
                    wake();
                    sent
                });
                drop(send.send(Message::Left(folder)));
                wake();
            }
        };
        if let Err(e) = Builder::new().name("open run".into()).spawn(read) {
            self.store.notice(format!("cannot read a run: {e}"));
        }
    }

    /// The run in a folder, unless it is one of ours.
    fn elsewhere(&self, folder: &Path) -> Option<RunId> {
        let run = self.store.runs.iter().find(|r| r.folder.as_deref() == Some(folder))?;
        (!self.workers.contains_key(&run.id)).then_some(run.id)
    }

    /// A run that is there already is replaced, unless it works.
    fn replayed(&mut self, mut run: RunState) {
        self.travel(None);
        let folder = run.folder.clone();
        match self.store.runs.iter_mut().find(|r| r.folder == run.folder) {
            Some(known) if known.is_live() => {}
            Some(known) => {
                run.id = known.id;
                *known = run;
            }
            None => {
                run.id = RunId(self.store.runs.len() as u32);
                self.store.runs.push(run);
            }
        }
        if let Some(at) = self.go_on.iter().position(|wanted| Some(wanted) == folder.as_ref()) {
            let folder = self.go_on.swap_remove(at);
            self.go_on(folder);
        }
    }

    fn steer(&mut self, id: RunId, steer: Steer) {
        let live = self.store.run(id).is_some_and(RunState::is_live);
        match self.workers.get(&id).filter(|_| live) {
            Some(worker) => worker.control.steer(steer),
            None => self.order(id, &ControlRequest::Steer(steer)),
        }
    }

    /// Leaves an order for a run that another process works on.
    fn order(&mut self, id: RunId, order: &ControlRequest) {
        let live = self.store.run(id).filter(|run| run.is_live());
        let sent = match live.and_then(|run| run.folder.clone()) {
            Some(folder) => control_file::send(&folder, order),
            None => Err(anyhow::anyhow!("only a run that works can be commanded")),
        };
        if let Err(e) = sent {
            self.store.notice(format!("{e:#}"));
        }
    }

    /// Queues an interrupted run; one that is not known yet is read first.
    fn go_on(&mut self, folder: PathBuf) {
        let known = self.store.runs.iter_mut().find(|r| r.folder.as_ref() == Some(&folder));
        match known {
            None => {
                self.go_on.push(folder.clone());
                self.open_run(folder);
            }
            Some(run) if run.can_resume() => {
                run.status = Status::Queued;
                self.begin_next();
            }
            Some(run) => {
                let text = format!("{} is not interrupted", run.title());
                self.store.notice(text);
            }
        }
    }

    fn start(&mut self, experiment: Experiment) {
        let id = RunId(self.store.runs.len() as u32);
        self.store.runs.push(RunState::new(id, Arc::new(experiment)));
        self.begin_next();
    }

    /// Queues a run made out of another one's past.
    fn fork(&mut self, origin: PathBuf, at: u64, experiment: Experiment) {
        let id = RunId(self.store.runs.len() as u32);
        self.store.runs.push(RunState::new(id, Arc::new(experiment.clone())));
        let fork = Fork { origin, at, experiment };
        self.forks.insert(id, fork);
        self.begin_next();
    }

    /// Shows a run as it was, or all as they are.
    fn travel(&mut self, to: Option<(RunId, u64)>) {
        self.looks_back = to;
        match to {
            None => self.store.come_back(),
            Some(_) if self.reads_past => {}
            Some(_) => self.read_past(),
        }
    }

    /// Reads a run's log up to the event that is wanted, on a thread of its own.
    fn read_past(&mut self) {
        let Some((id, seq)) = self.looks_back else { return };
        let Some(folder) = self.store.run(id).and_then(|run| run.folder.clone()) else {
            return self
                .store
                .notice("a run without a folder has no past to look at".into());
        };
        let (send, wake) = (self.messages.0.clone(), self.wake.clone());
        let read = move || {
            let run = match replay::at(id, &folder, seq) {
                Ok(run) => Some(Box::new(run)),
                Err(e) => {
                    drop(send.send(Message::Failed(format!("{e:#}"))));
                    None
                }
            };
            drop(send.send(Message::Past((id, seq), run)));
            wake();
        };
        match Builder::new().name("look back".into()).spawn(read) {
            Ok(_) => self.reads_past = true,
            Err(e) => self.store.notice(format!("cannot read a run: {e}")),
        }
    }

    /// Begins the oldest waiting run if none works.
    fn begin_next(&mut self) {
        // What another process works on does not count.
        let works = |r: &RunState| r.is_live() && self.workers.contains_key(&r.id);
        if self.store.runs.iter().any(works) {
            return;
        }
        let Some(run) = self.store.runs.iter_mut().find(|r| r.status == Status::Queued) else {
            return;
        };
        run.status = Status::Running;
        let (id, experiment, folder) = (run.id, run.experiment.clone(), run.folder.clone());
        let fork = self.forks.remove(&id);
        let control = Arc::new(Control::default());
        let (workspace, send, wake, held) = (
            self.workspace.clone(),
            self.messages.0.clone(),
            self.wake.clone(),
            control.clone(),
        );
        let work = move || {
            let mut listen = |stamped: &Stamped| {
                drop(send.send(Message::Event(id, stamped.clone())));
                wake();
            };
            let done = match (&fork, &folder) {
                (Some(fork), _) => branch(fork, &workspace, &held, &mut listen, &mut |run| {
                    if let Ok(mut state) = replay(id, run) {
                        state.status = Status::Running;
                        drop(send.send(Message::Branched(Box::new(state))));
                    }
                }),
                (None, Some(folder)) => resume(folder, &workspace, &held, &mut listen),
                (None, None) => begin(&experiment, &workspace, &held, &mut listen, &mut |run| {
                    drop(send.send(Message::Made(id, run.to_path_buf())));
                }),
            };
            if let Err(e) = done {
                drop(send.send(Message::Broken(id, format!("{e:#}"))));
                wake();
            }
        };
        match Builder::new().name(format!("run {}", id.0)).spawn(work) {
            Ok(thread) => drop(self.workers.insert(id, RunThread { control, thread })),
            Err(e) => {
                self.end_early(id);
                self.store.notice(format!("Cannot start a run: {e}"));
            }
        }
    }

    fn control(&mut self, id: RunId, status: Status, act: fn(&Control), order: &ControlRequest) {
        let movable = self
            .store
            .run(id)
            .is_some_and(|r| matches!(r.status, Status::Running | Status::Paused));
        if !movable {
            return;
        }
        match self.workers.get(&id) {
            Some(worker) => act(&worker.control),
            None => self.order(id, order),
        }
        self.mark(id, status);
    }

    fn stop(&mut self, id: RunId) {
        match self.store.run(id).map(|r| r.status) {
            Some(Status::Queued) => self.end_early(id),
            Some(Status::Running | Status::Paused) => {
                self.control(id, Status::Stopping, Control::stop, &ControlRequest::Stop)
            }
            _ => {}
        }
    }

    fn mark(&mut self, id: RunId, status: Status) {
        if let Some(run) = self.store.run_mut(id) {
            run.status = status;
        }
    }

    fn end_early(&mut self, id: RunId) {
        if let Some(run) = self.store.run_mut(id) {
            run.end_early();
        }
    }
}

/// A folder's one spelling, so that nobody has the same run twice.
fn whole(folder: PathBuf) -> PathBuf {
    std::path::absolute(&folder).unwrap_or(folder)
}

impl Drop for Session {
    /// A window closed in the middle of training: runs are stopped and their last event written before the program ends.
    fn drop(&mut self) {
        self.requests.close();
        for worker in self.workers.values() {
            worker.control.stop();
        }
        while self.workers.values().any(|w| !w.thread.is_finished()) {
            // Workers may wait for room in the channel.
            drop(self.messages.1.recv_timeout(Duration::from_millis(20)));
        }
    }
}
