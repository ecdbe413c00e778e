//! The HTTP of the proxy: takes a request whole, lets its fault happen, passes it on, and answers or does not.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rand::Rng as _;

use super::call::{Call, Service};
use super::fault::Fault;
use super::tripwire::When;
use super::{ClientState, Shared, Weather, lock, messages, objects, tables};

/// How long a part of an answer stays alone before its connection breaks, so that it is on its way by then.
const HALF_WAY: Duration = Duration::from_millis(20);

/// Connections to the emulators.
pub(super) type Upstream = Client<HttpConnector, Full<Bytes>>;

type Body = UnsyncBoxBody<Bytes, Dropped>;

/// The connection ends here, without another byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("it is a status");
        Self { status, headers: HeaderMap::new(), body: body.into() }
    }

    /// Another body, for which no checksum of the old one stands.
    pub(super) fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.headers.remove("x-amz-crc32");
        self.body = body.into();
        self
    }

    fn whole(self) -> Response<Body> {
        let body = Full::new(self.body).map_err(|never: Infallible| match never {}).boxed_unsync();
        response(self.status, self.headers, body)
    }

    /// The first half of it, of which the head says that it is the whole.
    fn cut_off(mut self) -> Response<Body> {
        self.headers.insert(CONTENT_LENGTH, self.body.len().into());
        let half = self.body.slice(..self.body.len() / 2);
        let parts = stream::unfold(Some(half), |half| async move {
            match half {
                Some(half) if !half.is_empty() => Some((Ok(Frame::data(half)), Some(Bytes::new()))),
                Some(_) => {
                    tokio::time::sleep(HALF_WAY).await;
                    Some((Err(Dropped), None))
                }
                None => None,
            }
        });
        response(self.status, self.headers, StreamBody::new(parts).boxed_unsync())
    }
}

/// What a client gets to see.
enum Reaction {
    Whole(Answer),
    CutOff(Answer),
    Nothing,
}

pub(super) fn upstream() -> Upstream {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Serves one client process.
pub(super) async fn serve(shared: Arc<Shared>, client: Arc<ClientState>, listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, client) = (Arc::clone(&shared), Arc::clone(&client));
        let service = service_fn(move |request| take(Arc::clone(&shared), Arc::clone(&client), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A connection that breaks was broken on purpose, or its process has ended.
        tokio::spawn(async move { drop(connection.await) });
    }
}

async fn take(
    shared: Arc<Shared>,
    client: Arc<ClientState>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Dropped)?.to_bytes();
    let call = Call::new(head, body);
    let reaction = if call.waits() {
        exchange(&shared, &client, call).await
    } else {
        // What has arrived is done, even if its sender does not live to hear of it.
        tokio::spawn(async move { exchange(&shared, &client, call).await }).await.map_err(|_| Dropped)?
    };
    match reaction {
        Reaction::Whole(answer) => Ok(answer.whole()),
        Reaction::CutOff(answer) => Ok(answer.cut_off()),
        Reaction::Nothing => Err(Dropped),
    }
}

async fn exchange(shared: &Shared, client: &ClientState, mut call: Call) -> Reaction {
    if call.service == Service::Tables {
        let mut recorder = lock(&shared.recorder);
        tables::note(&mut recorder.record, &client.name, &call, &shared.setup.key_names);
    }
    let held = client.wire.holds(&call);
    if held == Some(When::Before) {
        client.wire.hold().await;
    }
    if call.service == Service::Tables {
        tokio::time::sleep(shared.setup.latency).await;
    }
    let fault = draw(shared, client, &call);
    let (label, reaction) = match fault {
        None => (None, pass_on(shared, client, &call).await.map_or(Reaction::Nothing, Reaction::Whole)),
        Some(fault) => {
            let (label, reaction) = suffer(shared, client, &mut call, fault).await;
            client.injected.fetch_add(u64::from(label.is_some()), Ordering::Relaxed);
            (label, reaction)
        }
    };
    if held == Some(When::After) {
        client.wire.hold().await;
    }
    let outcome = match &reaction {
        Reaction::Whole(answer) => answer.status.as_u16().to_string(),
        Reaction::CutOff(answer) => format!("{} cut off", answer.status.as_u16()),
        Reaction::Nothing => "dropped".to_owned(),
    };
    lock(&shared.recorder).note(&client.name, &call, label.as_deref(), &outcome);
    reaction
}

fn draw(shared: &Shared, client: &ClientState, call: &Call) -> Option<Fault> {
    if client.weather == Weather::Fair {
        return None;
    }
    if let Some(fate) = shared.outages.fate(call) {
        return Some(fate);
    }
    if shared.budget.load(Ordering::Relaxed) <= 0 {
        return None;
    }
    let fault = shared.setup.rates.draw(call, &mut lock(&client.dice))?;
    let left = shared.budget.fetch_sub(1, Ordering::Relaxed);
    (left > 0).then_some(fault)
}

/// Lets a fault happen; it has a name when it really did.
async fn suffer(shared: &Shared, client: &ClientState, call: &mut Call, fault: Fault) -> (Option<String>, Reaction) {
    let named = |name: &str| Some(name.to_owned());
    let or_nothing = |answer: Option<Answer>| answer.map_or(Reaction::Nothing, Reaction::Whole);
    match fault {
        Fault::Refuse => (named("connection dropped"), Reaction::Nothing),
        Fault::LoseAnswer => {
            pass_on(shared, client, call).await;
            (named("answer lost"), Reaction::Nothing)
        }
        Fault::FailAfterwards => {
            pass_on(shared, client, call).await;
            (named("done and answered 500"), Reaction::Whole(Answer::new(500, "")))
        }
        Fault::Truncate => match pass_on(shared, client, call).await {
            Some(answer) if answer.body.len() > 1 => (named("answer cut off"), Reaction::CutOff(answer)),
            answer => (None, or_nothing(answer)),
        },
        Fault::Delay => {
            // From 10 ms to 2 s, and short ones most often.
            let (power, before) = {
                let mut dice = lock(&client.dice);
                (dice.random::<f64>(), dice.random::<bool>())
            };
            let delay = Duration::from_secs_f64(0.01 * 200_f64.powf(power));
            if before {
                tokio::time::sleep(delay).await;
            }
            let answer = pass_on(shared, client, call).await;
            if !before {
                tokio::time::sleep(delay).await;
            }
            (named("delay"), or_nothing(answer))
        }
        Fault::Fail => {
            let status = [500, 502, 503][lock(&client.dice).random_range(0..3)];
            (Some(format!("answered {status}")), Reaction::Whole(Answer::new(status, "<html>no</html>")))
        }
        Fault::Throttle | Fault::Refusal | Fault::StoreConflict | Fault::SlowDown => {
            let (name, answer) = match fault {
                Fault::Throttle => tables::throttle(call, &mut lock(&client.dice)),
                Fault::Refusal => tables::refusal(call, &mut lock(&client.dice)),
                Fault::StoreConflict => objects::conflict(),
                _ => objects::slow_down(),
            };
            (Some(name), Reaction::Whole(answer))
        }
        Fault::Unprocessed | Fault::ShortPage | Fault::EmptyPage => {
            let bent = tables::bend(call, fault, &mut lock(&client.dice));
            let Some(tables::Bent { name, call: bent, after }) = bent else {
                return (None, or_nothing(pass_on(shared, client, call).await));
            };
            let answer = match bent {
                Some(body) => {
                    call.body = body;
                    pass_on(shared, client, call).await
                }
                None => Some(Answer::new(200, "{}")),
            };
            (named(name), or_nothing(answer.map(|answer| after.apply(answer))))
        }
        Fault::Duplicate | Fault::Withhold => {
            let answer = pass_on(shared, client, call).await;
            let mut floating = lock(&shared.floating);
            let (name, answer) = match answer {
                Some(answer) => messages::float(answer, fault, &mut floating, &mut lock(&client.dice)),
                None => (None, None),
            };
            (name, or_nothing(answer))
        }
        Fault::PartialSend => {
            let (rest, failed) = messages::split(call, &mut lock(&client.dice));
            let answer = match rest {
                Some(body) => {
                    call.body = body;
                    pass_on(shared, client, call).await
                }
                None => Some(Answer::new(200, r#"{"Successful":[]}"#)),
            };
            (named("messages of a batch not taken"), or_nothing(answer.map(|answer| failed.add_to(answer))))
        }
    }
}

/// Has the service do it, and remembers what it did.
async fn pass_on(shared: &Shared, client: &ClientState, call: &Call) -> Option<Answer> {
    if call.waits()
        && let Some(answer) = lock(&shared.floating).land(call)
    {
        return Some(answer);
    }
    let setup = &shared.setup;
    let target = if call.service == Service::Tables { Some(&setup.tables) } else { setup.services.as_ref() }?;
    let path = call.head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(call.head.method.clone()).uri(format!("{target}{path}"));
    let headers = request.headers_mut()?;
    *headers = call.head.headers.clone();
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let request = request.body(Full::new(call.body.clone())).ok()?;
    let answer = shared.upstream.request(request).await.ok()?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let answer = Answer { status: head.status, headers: head.headers, body };
    let mut recorder = lock(&shared.recorder);
    match call.service {
        Service::Tables => tables::remember(&mut recorder.record, &client.name, call, &answer, &setup.key_names),
        Service::Store => objects::remember(&mut recorder.record, &client.name, call, &answer),
        Service::Queue => messages::remember(&mut recorder.record, call, &answer),
    }
    Some(answer)
}

fn response(status: StatusCode, mut headers: HeaderMap, body: Body) -> Response<Body> {
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONNECTION);
    if hyper::body::Body::size_hint(&body).exact().is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
