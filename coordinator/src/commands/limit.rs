//! `limit`: other limits for a job, also while it runs; its workers keep to them within seconds.

use shared::domain::control::Control;
use shared::domain::cost::Prices;
use shared::domain::job::Manifest;
use shared::domain::limits::{Budget, Capacity, Direction, Limits};
use shared::domain::summary::{JobState, Summary};
use shared::journal::Journal;
use worker::plan::{ceilings, look_at};

use super::sync::{advise, show};
use crate::cli::{LimitJobArgs, MaxCost};
use crate::failure::{Exit, Failure};
use crate::follow;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, args: &LimitJobArgs) -> Result<Exit, Failure> {
    let LimitJobArgs { job, read_capacity, write_capacity, max_cost } = args;
    let job = &job.job;
    if read_capacity.is_none() && write_capacity.is_none() && max_cost.is_none() {
        return Err(Failure::usage(
            "no limit was given",
            "give --read-capacity, --write-capacity or --max-cost; `none` lifts a limit",
        ));
    }
    let journal = settings.journal(job).await?;
    let manifest = journal.manifest().await?;
    let before = follow::where_it_stands(&journal, &manifest).await?;
    if matches!(before.state, JobState::Succeeded | JobState::Failed) {
        settings.note(&format!("job {job} has ended already; there is nothing to limit"));
        show(settings, &before)?;
        return Ok(Exit::Agree);
    }
    let asked = [(Direction::Read, *read_capacity), (Direction::Write, *write_capacity)];
    let asked: Vec<(Direction, Capacity)> =
        asked.into_iter().filter_map(|(direction, capacity)| Some((direction, capacity?))).collect();
    let resolved = resolve(settings, &manifest, &asked).await?;
    let prices = Prices::US_EAST_ON_DEMAND;
    let unaccounted = match max_cost {
        Some(MaxCost::Dollars(_)) => unaccounted(&journal, &before, prices).await?,
        Some(MaxCost::Unlimited) | None => 0.0,
    };
    let change = |control: &mut Control| {
        let mut limits = manifest.limits_now(control).clone();
        for (direction, ceilings) in &resolved {
            limits.set(*direction, ceilings);
        }
        match *max_cost {
            Some(MaxCost::Dollars(max_cost)) => limits.budget = Some(budget(&limits, max_cost, unaccounted)),
            Some(MaxCost::Unlimited) => limits.budget = None,
            None => {}
        }
        control.limits = Some(limits);
    };
    journal.change_control(change).await?;
    let after = journal.summary(&manifest).await?;
    show(settings, &after)?;
    advise(settings, &after);
    Ok(Exit::Agree)
}

/// A budget in place of the one that there is, or a new one.
fn budget(limits: &Limits, max_cost: f64, unaccounted: f64) -> Budget {
    match limits.budget {
        Some(budget) => Budget { max_cost, ..budget },
        None => Budget { max_cost, prices: Prices::US_EAST_ON_DEMAND, spent_before: unaccounted },
    }
}

/// The ceilings of every table. The tables are asked for their capacity only where a share of it is meant.
async fn resolve(
    settings: &Settings,
    manifest: &Manifest,
    asked: &[(Direction, Capacity)],
) -> Result<Vec<(Direction, Vec<Option<f64>>)>, Failure> {
    let is_share = |(_, capacity): &(Direction, Capacity)| matches!(capacity, Capacity::Percent(_));
    if asked.iter().any(is_share) {
        let (master, slaves) = look_at(&manifest.master, &manifest.slaves, &settings.environment()).await?;
        let sides: Vec<_> = manifest.sides().zip(std::iter::once(&master).chain(&slaves)).collect();
        let resolve = |&(direction, capacity)| Ok((direction, ceilings(capacity, direction, &sides)?));
        return asked.iter().map(resolve).collect();
    }
    let of_all = |capacity| match capacity {
        Capacity::Units(units) => vec![Some(units); manifest.slaves.len() + 1],
        Capacity::Percent(_) | Capacity::Unlimited => vec![None; manifest.slaves.len() + 1],
    };
    Ok(asked.iter().map(|&(direction, capacity)| (direction, of_all(capacity))).collect())
}

/// What the job has spent that its workers did not account for, because there was no budget then.
async fn unaccounted(journal: &Journal, summary: &Summary, prices: Prices) -> Result<f64, Failure> {
    let accounted = journal.claimed().await? as f64 / 1e9;
    let spent: f64 = summary.consumed.values().map(|consumed| prices.dollars(consumed.read, consumed.write)).sum();
    Ok((spent - accounted).max(0.0))
}
