//! A queue of segments and the tasks that work on them, in steps of some seconds.

use std::collections::VecDeque;

/// How the tasks behave; none of it is a part of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Seconds from the decision to a task that receives messages: provisioning, the image, the program's start.
    pub start: u32,
    /// Segments that a task works on at once.
    pub concurrency: usize,
    /// Whether a task that holds a segment is protected from scale-in.
    pub protects: bool,
}

/// Two vCPUs on Fargate, with an image of some tens of megabytes.
pub const USUAL: Behaviour = Behaviour { start: 75, concurrency: 4, protects: true };

#[derive(Clone, Debug)]
struct Task {
    starts_in: u32,
    /// Seconds of work left, of each segment that it holds.
    held: Vec<u32>,
}

/// The queue and the tasks.
#[derive(Clone, Debug)]
pub struct Fleet {
    behaviour: Behaviour,
    waiting: VecDeque<u32>,
    tasks: Vec<Task>,
    /// Segments that were sent.
    pub sent: usize,
    /// Segments that were done.
    pub done: usize,
    /// Tasks that were stopped while they held a segment.
    pub stopped_at_work: usize,
}

impl Fleet {
    /// Without tasks and messages.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, waiting: VecDeque::new(), tasks: Vec::new(), sent: 0, done: 0, stopped_at_work: 0 }
    }

    /// Messages that wait.
    #[must_use]
    pub fn visible(&self) -> usize {
        self.waiting.len()
    }

    /// Messages that are being worked on.
    #[must_use]
    pub fn held(&self) -> usize {
        self.tasks.iter().map(|task| task.held.len()).sum()
    }

    /// Tasks that have started.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tasks.iter().filter(|task| task.starts_in == 0).count()
    }

    /// A message comes, with so many seconds of work.
    pub fn send(&mut self, work: u32) {
        self.sent += 1;
        self.waiting.push_back(work);
    }

    /// Starts and stops tasks, as the service does, until there are as many as desired, if protection allows.
    ///
    /// Stopped are tasks that have not started, then those that hold the least. What they held is waiting again.
    pub fn converge(&mut self, desired: usize) {
        while self.tasks.len() < desired {
            self.tasks.push(Task { starts_in: self.behaviour.start, held: Vec::new() });
        }
        self.tasks.sort_by_key(|task| (task.starts_in == 0, task.held.len()));
        while self.tasks.len() > desired {
            let busy = !self.tasks[0].held.is_empty();
            if busy && self.behaviour.protects {
                return;
            }
            self.stopped_at_work += usize::from(busy);
            let stopped = self.tasks.remove(0);
            self.waiting.extend(stopped.held);
        }
    }

    /// Time passes: tasks start, take what waits, and work.
    pub fn pass(&mut self, seconds: u32) {
        for task in &mut self.tasks {
            let works_for = seconds.saturating_sub(task.starts_in);
            task.starts_in = task.starts_in.saturating_sub(seconds);
            let before = task.held.len();
            task.held.retain_mut(|left| {
                *left = left.saturating_sub(works_for);
                *left > 0
            });
            self.done += before - task.held.len();
        }
        // One each in turn, so that nobody takes all there is.
        for place in 0..self.behaviour.concurrency {
            for task in self.tasks.iter_mut().filter(|task| task.starts_in == 0 && task.held.len() <= place) {
                task.held.extend(self.waiting.pop_front());
            }
        }
    }
}
