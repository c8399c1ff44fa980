//! The page's server.

use super::command::{Action, Command};
use super::guard::{COOKIE_NAME, Denied, Guard};
use super::limited_listener::LimitedListener;
use super::page_file::{PageFile, WrittenPageFile};
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

/// The longest time that a command waits for the driver, which may be writing models.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest time that the last answers may take when the page is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// What every request needs.
struct WebState {
    guard: Guard,
    folder: PathBuf,
    status: watch::Receiver<Status>,
    commands: mpsc::Sender<Command>,
}

type Extracted = State<Arc<WebState>>;

/// The page, served until it is closed.
pub(crate) struct Web {
    close: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
    _page_file: WrittenPageFile,
}

impl Web {
    /// Serves the page, and writes into the run folder where it is.
    ///
    /// # Errors
    /// A token that cannot be used, a run folder that cannot be written.
    pub(crate) fn open(
        page: Page,
        folder: &Path,
        status: watch::Receiver<Status>,
        commands: mpsc::Sender<Command>,
    ) -> Result<Self, StatusError> {
        let local = page.is_local();
        let address = page.address;
        let token = match &page.token_file {
            Some(file) => Token::read(file)?,
            None => Token::of_folder(folder)?,
        };
        let listener = page
            .listener
            .try_clone()
            .and_then(tokio::net::TcpListener::from_std)
            .map_err(|reason| StatusError::Listen { address, reason })?;
        let listener = LimitedListener::new(listener);
        let file = match page.token_file {
            Some(file) => file,
            None => folder.join(token::FILE),
        };
        private::warn("the status page's token", &file);
        let page_file = PageFile {
            address,
            token_file: std::path::absolute(&file).unwrap_or(file),
        };
        let page_file = page_file.write(folder)?;
        let router = routes(Arc::new(WebState {
            guard: Guard { token, local },
            folder: folder.into(),
            status,
            commands,
        }));
        let (close, closed) = oneshot::channel();
        let until_closed = async {
            // A sender that was dropped also closes the page.
            let _ = closed.await;
        };
        let serving = axum::serve(listener, router).with_graceful_shutdown(until_closed);
        Ok(Self {
            close,
            server: tokio::spawn(serving.into_future()),
            _page_file: page_file,
        })
    }

    /// Lets the last answers arrive, and stops.
    pub(crate) async fn close(self) {
        let Self {
            close,
            mut server,
            _page_file,
        } = self;
        // Fails when the server has already ended.
        let _ = close.send(());
        if tokio::time::timeout(FAREWELL, &mut server).await.is_err() {
            server.abort();
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
        .layer(axum::middleware::map_response(with_safe_headers))
        .with_state(state)
}

async fn show_page(State(state): Extracted, headers: HeaderMap, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let given = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="));
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
    let status = state.status();
    let folder = state.folder.clone();
    let written = tokio::task::spawn_blocking(move || {
        serde_json::to_string(&history::with_all_rounds(status, &folder))
    });
    match written.await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn show_metrics(State(state): Extracted, headers: HeaderMap) -> Response {
    if let Err(denied) = state.guard.may_look(&headers) {
        return denied.into_response();
    }
    let text = metrics::write(&state.status());
    ([(CONTENT_TYPE, metrics::KIND)], text).into_response()
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
    // A driver that is stopping takes no command. Then the answer's sender is dropped.
    let _ = state.commands.send(Command { action, answer }).await;
    match tokio::time::timeout(LONGEST_WAIT, answered).await {
        Ok(Ok(Ok(done))) => done.to_string().into_response(),
        Ok(Ok(Err(refusal))) => (StatusCode::NOT_FOUND, refusal.to_string()).into_response(),
        Ok(Err(_)) => (StatusCode::CONFLICT, "the coordinator is stopping").into_response(),
        Err(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "the coordinator is busy; it will do so",
        )
            .into_response(),
    }
}

impl WebState {
    /// The present status, without the rounds before the last one.
    fn status(&self) -> Status {
        let mut status = self.status.borrow().clone();
        status.now = super::now();
        status
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::NoToken => {
                let words = "The token is needed: open /?token=TOKEN, or send Authorization: \
                             Bearer TOKEN.\n";
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

/// Forbids browsers to store a response, to show it in a frame, to guess its type, and to send its
/// address to others. Everything but the page may load nothing.
async fn with_safe_headers(mut response: Response) -> Response {
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
