//! `estimate`: what a `sync` of these tables would cost, from their descriptions alone.

use shared::domain::cost::{Prices, Reading};
use shared::domain::job::{Consistency, labels};
use worker::plan::look_at;

use crate::cli::{EstimateArgs, OutputFormat};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::quote::{Asked, PriceSource, Quote};
use crate::settings::{Settings, policy};

/// The descriptions are read by this process, so a queue in the environment does not count.
pub(super) async fn run(mut settings: Settings, args: &EstimateArgs) -> Result<Exit, Failure> {
    settings.queue = None;
    let (master, slaves) = settings.sides(&args.tables.master, &args.tables.slaves, &args.credentials, &args.mfa)?;
    let sides: Vec<_> = std::iter::once(&master).chain(&slaves).collect();
    settings.sign_in(&sides, &args.mfa).await?;
    let (of_master, of_slaves) = look_at(&master, &slaves, &settings.environment()).await?;
    let descriptions: Vec<_> = std::iter::once(of_master).chain(of_slaves).collect();
    let quote = Quote::new(&labels(sides), &descriptions, &asked(args));
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Text => output.line(&quote.to_string())?,
        OutputFormat::Json => output.json(&quote)?,
    }
    output.finish()?;
    Ok(Exit::Agree)
}

fn asked(args: &EstimateArgs) -> Asked {
    let listed = Prices::US_EAST_ON_DEMAND;
    Asked {
        reading: Reading {
            seeks_extra: policy(&args.repair).seeks_extra(),
            consistency: if args.consistent_read { Consistency::Strong } else { Consistency::Eventual },
            share: args.sample.map_or(1.0, f64::from),
        },
        prices: Prices {
            read_per_million: args.read_price.unwrap_or(listed.read_per_million),
            write_per_million: args.write_price.unwrap_or(listed.write_per_million),
        },
        source: match (args.read_price, args.write_price) {
            (None, None) => PriceSource::Listed,
            _ => PriceSource::Given,
        },
        read_capacity: args.read_capacity,
    }
}
