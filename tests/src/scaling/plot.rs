//! The picture of a simulation: messages above, tasks below, over time.

use std::fmt::Write as _;

use super::policy::Policy;
use super::simulate::History;

const WIDTH: f64 = 820.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;

/// Where a panel's top and its bottom are.
const MESSAGES: (f64, f64) = (64.0, 224.0);
const TASKS: (f64, f64) = (272.0, 396.0);

/// Minutes between two marks of the axis of time.
const MARK: u32 = 20;

/// Colours that show on white and on black: Okabe and Ito's.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#333}\
.axis{stroke:#888;stroke-width:1}.grid{stroke:#888;stroke-opacity:.25;stroke-width:1}\
path{fill:none;stroke-width:2;stroke-linejoin:round}\
.waiting{stroke:#0072b2}.held{stroke:#d55e00}.running{stroke:#009e73}.desired{stroke:#888;stroke-dasharray:4 3}\
.cap{stroke:#888;stroke-dasharray:1 4}.paper{fill:#fff}\
@media (prefers-color-scheme:dark){.paper{fill:#0d1117}text{fill:#ddd}.waiting{stroke:#56b4e9}.held{stroke:#e69f00}}";

/// The picture, as SVG.
#[must_use]
pub fn svg(history: &History, policy: &Policy, title: &str) -> String {
    let ends = history.moments.last().map_or(1, |moment| moment.at);
    let x = |at: u32| LEFT + PLOT * f64::from(at) / f64::from(ends);
    let most = history.moments.iter().map(|moment| moment.visible.max(moment.held)).max().unwrap_or(1);
    let messages = Axis::new(MESSAGES, most);
    let tasks = Axis::new(TASKS, policy.max as usize + 1);

    let mut svg = String::new();
    let mut line = |text: &str| {
        svg.push_str(text);
        svg.push('\n');
    };
    line(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 440" role="img" aria-labelledby="title">"#
    ));
    line(&format!("<title id=\"title\">{title}</title>"));
    line(&format!("<style>{STYLE}</style>"));
    line(&format!(r#"<rect class="paper" width="{WIDTH}" height="440"/>"#));
    line(&format!(r#"<text x="{LEFT}" y="22" font-weight="bold">{title}</text>"#));
    line(&legend(&[("waiting", "messages that wait"), ("held", "messages being worked on")], MESSAGES.0 - 18.0));
    let cap = format!("cap ({})", policy.max);
    line(&legend(&[("running", "tasks that run"), ("desired", "tasks asked for"), ("cap", &cap)], TASKS.0 - 18.0));
    line(&messages.lines());
    line(&tasks.lines());
    for minute in (0..=ends / 60).step_by(MARK as usize) {
        let at = x(minute * 60);
        for (top, bottom) in [MESSAGES, TASKS] {
            line(&format!(r#"<path class="grid" d="M{at:.1} {top}V{bottom}"/>"#));
        }
        line(&format!(r#"<text x="{at:.1}" y="{}" text-anchor="middle">{minute}</text>"#, TASKS.1 + 18.0));
    }
    line(&format!(r#"<text x="{}" y="{}" text-anchor="middle">minutes</text>"#, LEFT + PLOT / 2.0, TASKS.1 + 36.0));
    let course = |class: &str, axis: &Axis, value: &dyn Fn(usize) -> usize| {
        let mut path = String::new();
        let mut last = None;
        for (at, moment) in history.moments.iter().enumerate() {
            let value = value(at);
            // Steps, and only where something changes.
            if last != Some(value) {
                let sign = if last.is_none() { "M" } else { "H" };
                let y = axis.y(value);
                let _ = match last {
                    None => write!(path, "{sign}{:.1} {y:.1}", x(moment.at)),
                    Some(_) => write!(path, "{sign}{:.1}V{y:.1}", x(moment.at)),
                };
                last = Some(value);
            }
        }
        format!(r#"<path class="{class}" d="{path}H{:.1}"/>"#, x(ends))
    };
    let moments = &history.moments;
    line(&format!(r#"<path class="cap" d="M{LEFT} {:.1}h{PLOT}"/>"#, tasks.y(policy.max as usize)));
    line(&course("waiting", &messages, &|at| moments[at].visible));
    line(&course("held", &messages, &|at| moments[at].held));
    line(&course("desired", &tasks, &|at| moments[at].desired as usize));
    line(&course("running", &tasks, &|at| moments[at].running));
    line("</svg>");
    svg
}

/// The entries in a row, each with a piece of its line.
fn legend(entries: &[(&str, &str)], y: f64) -> String {
    let mut x = LEFT;
    let mut row = String::new();
    for (class, label) in entries {
        let (from, to, text) = (x, x + 24.0, x + 30.0);
        let _ = write!(
            row,
            r#"<path class="{class}" d="M{from} {y}H{to}"/><text x="{text}" y="{}">{label}</text>"#,
            y + 4.0
        );
        #[expect(clippy::cast_precision_loss, reason = "a label is short")]
        let width = label.len() as f64 * 7.2;
        x = text + width + 24.0;
    }
    row
}

/// A vertical axis from zero.
struct Axis {
    top: f64,
    bottom: f64,
    step: usize,
    most: usize,
}

impl Axis {
    fn new((top, bottom): (f64, f64), most: usize) -> Self {
        let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
        let step = steps.into_iter().find(|step| most / step <= 5).unwrap_or(most);
        Self { top, bottom, step, most: most.max(1) }
    }

    fn y(&self, value: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let share = value as f64 / self.most as f64;
        self.bottom - (self.bottom - self.top) * share
    }

    /// The axis with its marks and their numbers.
    fn lines(&self) -> String {
        let mut lines = format!(r#"<path class="axis" d="M{LEFT} {}V{}H{}"/>"#, self.top, self.bottom, LEFT + PLOT);
        for value in (0..=self.most).step_by(self.step) {
            let y = self.y(value);
            let _ = write!(lines, r#"<path class="grid" d="M{LEFT} {y:.1}h{PLOT}"/>"#);
            let _ = write!(lines, r#"<text x="{}" y="{:.1}" text-anchor="end">{value}</text>"#, LEFT - 8.0, y + 4.0);
        }
        lines
    }
}
