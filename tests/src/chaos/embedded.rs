//! A job in one process, which is interrupted, killed and resumed until it has ended.

use std::time::{Duration, Instant};

use super::hand::End;
use super::plan::User;
use super::stage::{JOB, Stage};
use crate::proxy::Weather;

/// How long one process may take: the lease of a dead one is 15 s.
const LONG: Duration = Duration::from_secs(150);

/// Processes amid faults; from then on there are none.
const FOUL_STARTS: usize = 4;

/// More than this many processes no job takes.
const STARTS: usize = 7;

const PAUSE: Duration = Duration::from_millis(10);

enum Next {
    Sync,
    Resume,
    Done,
}

/// Conducts the run; says what went wrong.
pub(super) async fn conduct(stage: &mut Stage, parallel: u32) -> Vec<String> {
    let parallel = parallel.to_string();
    let mut next = Next::Sync;
    for start in 0..STARTS {
        let mut arguments = match next {
            Next::Sync => stage.sync(),
            Next::Resume => vec!["resume".to_owned(), JOB.to_owned(), "-v".to_owned()],
            Next::Done => return Vec::new(),
        };
        arguments.extend(["--parallel".to_owned(), parallel.clone()]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let weather = if start < FOUL_STARTS { Weather::Foul } else { Weather::Fair };
        let mishap = stage.plan.to_coordinator.get(start).copied();
        let mut hand = stage.coordinator(&arguments, weather, mishap);
        let mut rival = None;
        let rivals = start == 0 && matches!(stage.plan.user, User::Resumes(_));
        let (started, mut ended) = (Instant::now(), None);
        let end = loop {
            tokio::time::sleep(PAUSE).await;
            ended = ended.or_else(|| hand.tick());
            if rivals && rival.is_none() && stage.plan.user.has_acted(started.elapsed()) {
                rival = Some(stage.coordinator(&["resume", JOB, "--parallel", &parallel], Weather::Foul, None));
            }
            let rival_ended = rival.as_mut().is_none_or(|rival| match rival.tick() {
                Some(end) => {
                    stage.ends.push(end);
                    true
                }
                None => rival.has_ended(),
            });
            if let Some(end) = ended.take_if(|_| rival_ended) {
                break end;
            }
            if started.elapsed() > LONG {
                let problem = format!("{} still runs after {LONG:?}:\n{}", hand.name(), hand.stderr());
                stage.ends.extend(hand.terminate(LONG));
                return vec![problem];
            }
        };
        if let Some(rival) = stage.ends.last().filter(|_| rival.is_some())
            && let Err(problem) = after(rival)
        {
            return vec![problem];
        }
        let after = after(&end);
        stage.ends.push(end);
        match after {
            Ok(step) => next = step,
            Err(problem) => return vec![problem],
        }
    }
    match next {
        Next::Done => Vec::new(),
        Next::Sync | Next::Resume => vec![format!("{STARTS} processes did not finish the job")],
    }
}

/// What the user does after the process ended.
fn after(end: &End) -> Result<Next, String> {
    match end.code {
        Some(0 | 1) => Ok(Next::Done),
        None if end.was_killed() => Ok(Next::Resume),
        Some(130) if end.was_asked_to_stop() && end.stderr.contains("dynamend resume job") => Ok(Next::Resume),
        Some(3) if end.stderr.contains("there is no job") => Ok(Next::Sync),
        Some(3 | 4) if end.was_hindered() => Ok(Next::Resume),
        _ => Err(format!("it ended in a way of its own: {}", end.title())),
    }
}
