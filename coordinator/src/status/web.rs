//! The page's server.

use super::beacon::{Beacon, Lit};
use super::bounded::Bounded;
use super::guard::{COOKIE_NAME, Denied, Guard};
use super::settings::Page;
use super::state::Status;
use super::token::{self, Token};
use super::{StatusError, history, metrics, page};
use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, SET_COOKIE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use program::private;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// The longest that a command waits for the loop, which may be writing models.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that answers on their way may take at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Stop,
    Pause,
    Resume,
    Drop {
        site: String,
        /// Also where the federation cannot go on without it.
        force: bool,
    },
}

/// A wish, and where to say what came of it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) action: Action,
    pub(crate) answer: oneshot::Sender<Result<String, String>>,
}

/// What every request needs.
struct WebState {
    guard: Guard,
    folder: PathBuf,
    status: watch::Receiver<Status>,
    commands: mpsc::Sender<Command>,
}

type Extracted = State<Arc<WebState>>;

/// The page, shown until it is closed.
pub(crate) struct Web {
    close: oneshot::Sender<()>,
    shown: JoinHandle<std::io::Result<()>>,
    _lit: Lit,
}

impl Web {
    /// Shows the page, and tells the run folder where.
    ///
    /// # Errors
    /// A token that cannot be used, a run folder that cannot be written.
    pub(crate) fn open(
        page: Page,
        folder: &Path,
        status: watch::Receiver<Status>,
        commands: mpsc::Sender<Command>,
    ) -> Result<Self, StatusError> {
        let (local, address) = (page.is_local(), page.address);
        let token = page
            .token_file
            .as_deref()
            .map_or_else(|| Token::of_folder(folder), Token::read)?;
        let failed = |reason| StatusError::Listen { address, reason };
        let listener = page.listener.try_clone().map_err(failed)?;
        let listener = Bounded::new(tokio::net::TcpListener::from_std(listener).map_err(failed)?);
        let file = page.token_file.unwrap_or_else(|| folder.join(token::FILE));
        private::warn("the status page's token", &file);
        let token_file = std::path::absolute(&file).unwrap_or(file);
        let lit = Beacon {
            address,
            token_file,
        }
        .light(folder)?;
        let router = routes(Arc::new(WebState {
            guard: Guard { token, local },
            folder: folder.into(),
            status,
            commands,
        }));
        let (close, closed) = oneshot::channel();
        let until_closed = async {
            // An end without a word is one too.
            let _ = closed.await;
        };
        let serving = axum::serve(listener, router).with_graceful_shutdown(until_closed);
        Ok(Self {
            close,
            shown: tokio::spawn(serving.into_future()),
            _lit: lit,
        })
    }

    /// Lets answers on their way arrive, and ends.
    pub(crate) async fn close(self) {
        let Self {
            close,
            mut shown,
            _lit,
        } = self;
        // Gone already is as good.
        let _ = close.send(());
        if tokio::time::timeout(FAREWELL, &mut shown).await.is_err() {
            shown.abort();
        }
    }
}

fn routes(state: Arc<WebState>) -> Router {
    Router::new()
        .route("/", get(show_page))
        .route("/status.json", get(show_status))
        .route("/metrics", get(show_metrics))
        .route(
            "/control/stop",
            post(|state, headers| steer(state, headers, Action::Stop)),
        )
        .route(
            "/control/pause",
            post(|state, headers| steer(state, headers, Action::Pause)),
        )
        .route(
            "/control/resume",
            post(|state, headers| steer(state, headers, Action::Resume)),
        )
        .route(
            "/control/drop/{site}",
            post(|state, headers, Segment(site): Segment<String>| {
                drop_site(state, headers, site, false)
            }),
        )
        .route(
            "/control/drop/{site}/force",
            post(|state, headers, Segment(site): Segment<String>| {
                drop_site(state, headers, site, true)
            }),
        )
        .layer(axum::middleware::map_response(careful))
        .with_state(state)
}

async fn show_page(State(state): Extracted, headers: HeaderMap, uri: Uri) -> Response {
    let given = uri.query().and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token="))
    });
    if given.is_some_and(|token| state.guard.token.is(token)) {
        let cookie = format!(
            "{COOKIE_NAME}={}; HttpOnly; SameSite=Strict; Path=/",
            state.guard.token.cookie()
        );
        return (
            StatusCode::SEE_OTHER,
            [(SET_COOKIE, cookie), (LOCATION, "/".into())],
        )
            .into_response();
    }
    if let Err(denied) = state.guard.may_look(&headers) {
        return denied.into_response();
    }
    match token::random() {
        Ok(nonce) => {
            let policy = page::policy(&nonce);
            let kind = "text/html; charset=utf-8".to_string();
            (
                [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, policy)],
                page::page(&nonce),
            )
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn show_status(State(state): Extracted, headers: HeaderMap) -> Response {
    if let Err(denied) = state.guard.may_look(&headers) {
        return denied.into_response();
    }
    let (picture, folder) = (state.picture(), state.folder.clone());
    let written = tokio::task::spawn_blocking(move || {
        serde_json::to_string(&history::whole(picture, &folder))
    })
    .await;
    match written
        .map_err(|error| error.to_string())
        .and_then(|text| text.map_err(|error| error.to_string()))
    {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response(),
    }
}

async fn show_metrics(State(state): Extracted, headers: HeaderMap) -> Response {
    if let Err(denied) = state.guard.may_look(&headers) {
        return denied.into_response();
    }
    (
        [(CONTENT_TYPE, metrics::KIND)],
        metrics::write(&state.picture()),
    )
        .into_response()
}

async fn drop_site(state: Extracted, headers: HeaderMap, site: String, force: bool) -> Response {
    steer(state, headers, Action::Drop { site, force }).await
}

async fn steer(State(state): Extracted, headers: HeaderMap, action: Action) -> Response {
    if let Err(denied) = state.guard.may_steer(&headers) {
        return denied.into_response();
    }
    tracing::info!(?action, "asked by the operator");
    let (answer, answered) = oneshot::channel();
    let stopping = || (StatusCode::CONFLICT, "the coordinator is stopping").into_response();
    if state
        .commands
        .send(Command { action, answer })
        .await
        .is_err()
    {
        return stopping();
    }
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(Ok(said))) => said.into_response(),
        Ok(Ok(Err(refused))) => (StatusCode::NOT_FOUND, refused).into_response(),
        Ok(Err(_)) => stopping(),
        Err(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the coordinator is busy; it will do so",
        )
            .into_response(),
    }
}

impl WebState {
    /// The picture as it stands in memory, without the rounds before the last one.
    fn picture(&self) -> Status {
        let mut picture = self.status.borrow().clone();
        picture.now = super::now();
        picture
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::NoToken => {
                let words = "The token is needed: open /?token=TOKEN, or send Authorization: Bearer TOKEN.\n";
                (
                    StatusCode::UNAUTHORIZED,
                    [("www-authenticate", "Bearer")],
                    words,
                )
                    .into_response()
            }
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "This page is asked for as localhost.\n",
            )
                .into_response(),
        }
    }
}

/// Nothing is kept, framed, guessed at or told onward; what is not the page may load nothing.
async fn careful(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}
