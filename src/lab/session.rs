//! The whole engine behind three methods: submit, pump, store.
//! Knows nothing of windows; it calls `wake` when something arrived.

use crate::command::Command;
use crate::execute::{begin, branch, panic_text, resume};
use crate::fork::Fork;
use crate::jobs::{JobResult, ModelJob};
use crate::outbox::{Message, Outbox, Wake};
use crate::store::RunStore;
use crate::watch::{Elsewhere, Found, watch};
use crate::{Workspace, jobs};
use crossbeam_channel::{Receiver, bounded};
use event::{Event, Stamped, Steer};
use measure::probe::Response;
use measure::{Requests, probe};
use record::control::Control;
use record::control_file::{ControlRequest, Held};
use record::experiment::Experiment;
use record::farm_status::ask_to_stop;
use record::folder::is_written;
use record::replay::{replay, replay_to_end};
use record::tail::tail;
use record::{RunId, RunState, RunSummary, Status, control_file, replay};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use train::device::DeviceName;

/// Events that may wait before a worker must. Enough for seconds of a hidden window.
const EVENTS: usize = 65_536;

struct RunThread {
    control: Arc<Control>,
    thread: JoinHandle<()>,
}

/// Runs, questions and what is known of them. One per program.
pub struct Session {
    workspace: Workspace,
    store: RunStore,
    outbox: Outbox,
    messages: Receiver<Message>,
    workers: BTreeMap<RunId, RunThread>,
    /// Runs of other processes that this session holds.
    held: BTreeMap<RunId, Held>,
    /// Run folders to resume once they are read.
    to_resume: Vec<PathBuf>,
    /// Run folders that are being read.
    being_read: BTreeSet<PathBuf>,
    /// Folders of runs of this session, for whoever watches what others do to them.
    shown: Arc<Elsewhere>,
    /// Runs that wait to be forked from others.
    forks: BTreeMap<RunId, Fork>,
    /// The event that somebody looks back to.
    looks_back: Option<(RunId, u64)>,
    /// Whether a log is being read for that: one at a time, however fast a slider is dragged.
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
        let (sender, messages) = bounded(EVENTS);
        let (asked, ring) = (requests.clone(), wake.clone());
        Builder::new().name("probe".into()).spawn(move || {
            // A panic in the engine loses the open model, not the window.
            while let Err(panic) =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| probe::serve(&asked, &send, &*ring)))
            {
                drop(send.send(Response::NotMeasured(format!(
                    "a worker panicked: {}",
                    panic_text(&*panic)
                ))));
                ring();
            }
        })?;
        Ok(Self {
            workspace,
            store: RunStore::default(),
            outbox: Outbox { send: sender, wake },
            messages,
            workers: BTreeMap::new(),
            held: BTreeMap::new(),
            to_resume: Vec::new(),
            being_read: BTreeSet::new(),
            shown: Arc::default(),
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

    /// From now on the store knows all run folders, and runs that another program goes on with are followed.
    pub fn watch(&mut self) {
        let (outbox, runs, shown) = (
            self.outbox.clone(),
            self.workspace.runs.clone(),
            Arc::downgrade(&self.shown),
        );
        let look = move || watch(&runs, &shown, &mut |found| outbox.send(Message::Found(found)));
        self.spawn("watch runs", look);
    }

    /// Does what a front asks. Never blocks on work.
    pub fn submit(&mut self, command: Command) {
        // These are meant of runs as they are now.
        if matches!(
            command,
            Command::ResumeRun(_) | Command::OpenRun(_) | Command::Fork { .. }
        ) {
            self.travel(None);
        }
        match command {
            Command::Start(experiment) => self.start(*experiment),
            Command::Pause(id) => self.pause(id),
            Command::Resume(id) => {
                self.held.remove(&id);
                let resume = |control: &Control| control.resume(&here());
                self.control(id, Status::Running, &resume, &ControlRequest::Resume);
            }
            Command::Stop(id) => self.stop(id),
            Command::StopFarm(folder) => {
                if let Err(e) = ask_to_stop(&folder) {
                    self.store.notice(format!("the farm was not stopped: {e:#}"));
                }
            }
            Command::Steer(id, steer) => self.steer(id, steer),
            Command::ResumeRun(folder) => self.resume(whole(folder)),
            Command::OpenRun(folder) => self.open_run(whole(folder)),
            Command::Fork { origin, at, experiment } => self.fork(origin, at, *experiment),
            Command::Travel(to) => self.travel(to),
            Command::Open(from) => self.requests.open(from),
            Command::UseImages(source, question) => self.requests.use_images(source, question),
            Command::Ask(question) => self.requests.ask(question),
            Command::Look(image) => self.requests.look(image),
            Command::UseDevice(name) => match DeviceName::parse(&name) {
                Ok(device) => self.workspace.device = device,
                Err(e) => self.store.notice(format!("{e:#}")),
            },
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
                Response::Passed(answer) => self.store.passed(answer),
                Response::Images(strip, source) => self.store.take_images(strip, source),
                Response::NoImages(why) => self.store.lack_images(why),
                Response::Looked(look) => self.store.look = Some(look),
                Response::Failed(text) => self.store.notice(text),
                Response::NotMeasured(why) => self.store.lack_answer(why),
            }
        }
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Event(id, stamped) => self.store.apply(id, &stamped),
                Message::Replayed(run) => self.replayed(*run),
                Message::Branched(run) => {
                    if let Some(known) = self.store.run_mut(run.id) {
                        *known = *run;
                    }
                }
                Message::Made(id, folder) => {
                    if let Some(run) = self.store.run_mut(id) {
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
                    // A run that is opened twice is read twice.
                    let due = |id: &RunId| self.store.run(*id).is_some_and(|run| run.events == stamped.seq);
                    if let Some(id) = self.elsewhere(&folder).filter(due) {
                        // Somebody else let it go on: this session's pause is over, too.
                        if matches!(stamped.event, Event::Unpaused { .. }) {
                            self.held.remove(&id);
                        }
                        self.store.apply(id, &stamped);
                    }
                }
                Message::Left(folder) => {
                    let live = |id: &RunId| self.store.run(*id).is_some_and(RunState::is_live);
                    if let Some(id) = self.elsewhere(&folder).filter(live) {
                        self.mark(id, Status::Interrupted);
                    }
                }
                Message::Unreadable(folder, text) => {
                    self.being_read.remove(&folder);
                    self.store.notice(text);
                }
                Message::Failed(text) => self.store.notice(text),
                Message::Found(Found::Runs(folders)) => self.found(folders),
                Message::Found(Found::Farms(farms)) => self.store.farms = farms,
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

    /// A run whose events come from outside, through the channel that workers use: this times the window itself.
    pub fn feed(&mut self, experiment: Experiment) -> impl FnMut(Stamped) + Send + 'static {
        let id = self.store.add(experiment);
        self.mark(id, Status::Running);
        let outbox = self.outbox.clone();
        move |stamped| {
            outbox.send(Message::Event(id, stamped));
        }
    }

    /// Does a job on a thread of its own. A panic is reported like any other failure.
    fn work(&mut self, job: ModelJob) {
        let (outbox, runs, doing) = (self.outbox.clone(), self.workspace.runs.clone(), job.clone());
        let work = move || {
            let tried = std::panic::catch_unwind(|| jobs::work(doing.clone(), &runs));
            let done = tried.unwrap_or_else(|panic| {
                JobResult::new(doing, Err(format!("the job panicked: {}", panic_text(&*panic))))
            });
            outbox.send(Message::Done(Box::new(done)));
        };
        if self.spawn("job", work) {
            self.store.working.push(job);
        }
    }

    /// Spawns a thread; a failure becomes a notice.
    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> bool {
        let spawned = Builder::new().name(name.into()).spawn(work);
        if let Err(e) = &spawned {
            self.store.notice(format!("Cannot spawn a thread: {e}"));
        }
        spawned.is_ok()
    }

    /// Reads a run folder on a thread of its own: logs can be long.
    fn open_run(&mut self, folder: PathBuf) {
        if !self.being_read.insert(folder.clone()) {
            return;
        }
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(folder.clone());
        let outbox = self.outbox.clone();
        let read = move || {
            let written = is_written(&folder);
            let (mut run, read) = match replay_to_end(RunId(0), &folder) {
                Ok(read) => read,
                Err(e) => {
                    outbox.send(Message::Unreadable(folder, format!("{e:#}")));
                    return;
                }
            };
            if written && run.status == Status::Interrupted {
                run.status = if run.held_by.is_some() {
                    Status::Paused
                } else {
                    Status::Running
                };
            }
            outbox.send(Message::Replayed(Box::new(run)));
            if written {
                tail(&folder, read, &mut |stamped| {
                    outbox.send(Message::Logged(folder.clone(), stamped))
                });
                outbox.send(Message::Left(folder));
            }
        };
        self.spawn("open run", read);
    }

    /// Takes what run folders there are, and follows those of this session's runs that another program has gone on with.
    fn found(&mut self, folders: Vec<RunSummary>) {
        self.store.folders = folders.into();
        let works = self.store.folders.iter().filter(|run| run.status.is_live());
        let works: Vec<PathBuf> = works.map(|run| run.folder.clone()).collect();
        for folder in works {
            let known = self.elsewhere(&folder).and_then(|id| self.store.run(id));
            if known.is_some_and(|run| !run.is_live() && run.status != Status::Queued) {
                self.open_run(folder);
            }
        }
    }

    /// The run in a folder, unless this session works on it.
    fn elsewhere(&self, folder: &Path) -> Option<RunId> {
        let run = self.store.runs.iter().find(|r| r.folder.as_deref() == Some(folder))?;
        let works = self.workers.get(&run.id).is_some_and(|w| !w.thread.is_finished());
        (!works).then_some(run.id)
    }

    /// Adds a run, or replaces the one of the same folder unless it works.
    fn replayed(&mut self, mut run: RunState) {
        let folder = run.folder.clone();
        if let Some(folder) = &folder {
            self.being_read.remove(folder);
        }
        // What it was is shown no longer once it goes on.
        if self
            .store
            .present
            .as_ref()
            .is_some_and(|present| present.folder == folder)
        {
            self.travel(None);
        }
        match self.store.runs.iter_mut().find(|r| r.folder == run.folder) {
            Some(known) if known.is_live() => {}
            Some(known) => {
                // From now on another process is asked, not the thread that once worked on it.
                if self.workers.get(&known.id).is_some_and(|w| w.thread.is_finished()) {
                    self.workers.remove(&known.id);
                }
                run.id = known.id;
                *known = run;
            }
            None => {
                run.id = RunId(self.store.runs.len() as u32);
                self.store.runs.push(run);
            }
        }
        if let Some(at) = self.to_resume.iter().position(|wanted| Some(wanted) == folder.as_ref()) {
            let folder = self.to_resume.swap_remove(at);
            self.resume(folder);
        }
    }

    fn steer(&mut self, id: RunId, steer: Steer) {
        let live = self.store.run(id).is_some_and(RunState::is_live);
        let is_sent = match self.workers.get(&id).filter(|_| live) {
            Some(worker) => {
                worker.control.steer(steer.clone());
                true
            }
            None => self.request(id, &ControlRequest::Steer(steer.clone())),
        };
        if is_sent {
            self.store.ordered(id, steer);
        }
    }

    /// Leaves a request for a run that another process works on. Whether it was left.
    fn request(&mut self, id: RunId, request: &ControlRequest) -> bool {
        let live = self.store.run(id).filter(|run| run.is_live());
        let sent = match live.and_then(|run| run.folder.clone()) {
            Some(folder) => control_file::send(&folder, request),
            None => Err(anyhow::anyhow!("Only a running run takes commands")),
        };
        let is_sent = sent.is_ok();
        if let Err(e) = sent {
            self.store.notice(format!("{e:#}"));
        }
        is_sent
    }

    /// Queues an interrupted run; one that is not known yet is read first.
    fn resume(&mut self, folder: PathBuf) {
        let known = self.store.runs.iter_mut().find(|r| r.folder.as_ref() == Some(&folder));
        match known {
            None => {
                self.to_resume.push(folder.clone());
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
        self.store.add(experiment);
        self.begin_next();
    }

    /// Queues a fork of a run.
    fn fork(&mut self, origin: PathBuf, at: u64, experiment: Experiment) {
        let id = self.store.add(experiment.clone());
        self.forks.insert(id, Fork { origin, at, experiment });
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
            return self.store.notice("A run without a folder has no past to show".into());
        };
        let outbox = self.outbox.clone();
        let read = move || {
            let run = replay::at(id, &folder, seq).map_err(|e| outbox.send(Message::Failed(format!("{e:#}"))));
            outbox.send(Message::Past((id, seq), run.ok().map(Box::new)));
        };
        self.reads_past |= self.spawn("look back", read);
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
        let (workspace, outbox, held) = (self.workspace.clone(), self.outbox.clone(), control.clone());
        let work = move || {
            let mut listen = |stamped: &Stamped| {
                outbox.send(Message::Event(id, stamped.clone()));
            };
            let done = match (&fork, &folder) {
                (Some(fork), _) => branch(fork, &workspace, &held, &mut listen, &mut |run| {
                    if let Ok(mut state) = replay(id, run) {
                        state.status = Status::Running;
                        outbox.send(Message::Branched(Box::new(state)));
                    }
                }),
                (None, Some(folder)) => resume(folder, None, &workspace, &held, &mut listen),
                (None, None) => begin(&experiment, &workspace, &held, &mut listen, &mut |run| {
                    outbox.send(Message::Made(id, run.to_path_buf()));
                }),
            };
            if let Err(e) = done {
                outbox.send(Message::Broken(id, format!("{e:#}")));
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

    /// Holds a run; one of another process for as long as this session lives.
    fn pause(&mut self, id: RunId) {
        match self.store.run(id) {
            Some(run) if run.status == Status::Running && !self.workers.contains_key(&id) => {
                let held = run.folder.as_deref().map(|folder| control_file::hold(folder, &here()));
                match held {
                    Some(Ok(held)) => drop(self.held.insert(id, held)),
                    Some(Err(e)) => return self.store.notice(format!("{e:#}")),
                    None => return,
                }
                self.mark(id, Status::Paused);
            }
            _ => self.control(
                id,
                Status::Paused,
                &|control| control.pause(&here()),
                &ControlRequest::Pause,
            ),
        }
    }

    fn control(&mut self, id: RunId, status: Status, act: &dyn Fn(&Control), request: &ControlRequest) {
        let movable = self
            .store
            .run(id)
            .is_some_and(|r| matches!(r.status, Status::Running | Status::Paused));
        if !movable {
            return;
        }
        match self.workers.get(&id) {
            Some(worker) => act(&worker.control),
            None => drop(self.request(id, request)),
        }
        self.mark(id, status);
    }

    fn stop(&mut self, id: RunId) {
        match self.store.run(id).map(|r| r.status) {
            Some(Status::Queued) => self.end_early(id),
            Some(Status::Running | Status::Paused) => {
                self.held.remove(&id);
                self.control(id, Status::Stopping, &Control::stop, &ControlRequest::Stop);
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

/// Who asks, as logs have it.
fn here() -> String {
    format!("the window (process {})", std::process::id())
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
            drop(self.messages.recv_timeout(Duration::from_millis(20)));
        }
    }
}
