//! Which method and path lead where, and JSON for everything else. Both listeners have one, an axum router each.

use super::head;
use super::meters::Endpoint;
use super::peer::Peer;
use super::reply::Reply;
use super::visit::{Visit, Visits};
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::routing::future::RouteFuture;
use axum::routing::{MethodFilter, on};
use axum::{Extension, Router};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, PoisonError, RwLock};
use tower_service::Service;

/// What answers the requests of one route.
pub(super) trait Handler: Send + Sync + 'static {
    /// The answer, or the refusal.
    fn answer(
        &self,
        visit: &mut Visit,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Reply, Reply>> + Send;
}

/// The routes of one listener.
pub(super) struct Routes {
    router: Router,
    visits: Arc<Visits>,
    stray: Endpoint,
}

impl Routes {
    /// Without any; requests that lead nowhere count as `stray`.
    pub(super) fn new(visits: Visits, stray: Endpoint) -> Self {
        let visits = Arc::new(visits);
        let unknown = refuse(Arc::clone(&visits), stray, Reply::unknown_path);
        // A path of the issuer may have segments that begin with a colon or a star: they stand for themselves.
        let router = Router::new().without_v07_checks().fallback(unknown);
        Self { router, visits, stray }
    }

    /// Sends each POST for a path of this pattern to `handler`; see [`Self::on`].
    #[must_use]
    pub(super) fn post(self, pattern: &str, endpoint: Endpoint, handler: impl Handler) -> Self {
        self.on(MethodFilter::POST, || Reply::wrong_method("POST"), pattern, endpoint, handler)
    }

    /// Sends each GET and HEAD for a path of this pattern to `handler`; see [`Self::on`].
    #[must_use]
    pub(super) fn get(self, pattern: &str, endpoint: Endpoint, handler: impl Handler) -> Self {
        self.on(MethodFilter::GET, || Reply::wrong_method("GET, HEAD"), pattern, endpoint, handler)
    }

    /// A segment of the pattern like `{id}` is a parameter, which the handler takes with axum's `Path`; no URI has such
    /// a segment (RFC 3986 §2). Log lines and counters name the endpoint, never the path.
    fn on(
        mut self,
        methods: MethodFilter,
        wrong_method: fn() -> Reply,
        pattern: &str,
        endpoint: Endpoint,
        handler: impl Handler,
    ) -> Self {
        let (visits, stray, handler) = (Arc::clone(&self.visits), self.stray, Arc::new(handler));
        let answer = move |Extension(peer): Extension<Peer>, request: Request<Body>| {
            let checked = head::check(request.headers());
            let mut visit = visits.begin(if checked.is_ok() { endpoint } else { stray }, peer);
            let handler = Arc::clone(&handler);
            async move {
                let reply = match checked {
                    Ok(()) => handler.answer(&mut visit, request).await,
                    Err(refusal) => Err(refusal),
                };
                visit.end(reply.unwrap_or_else(|refusal| refusal))
            }
        };
        let route = on(methods, answer).fallback(refuse(Arc::clone(&self.visits), stray, wrong_method));
        self.router = self.router.route(pattern, route);
        self
    }
}

/// Refuses a request: for its head, or else with this refusal.
fn refuse(
    visits: Arc<Visits>,
    stray: Endpoint,
    refusal: fn() -> Reply,
) -> impl Fn(Extension<Peer>, Request<Body>) -> Ready<Response<Body>> + Clone {
    move |Extension(peer), request| {
        let reply = head::check(request.headers()).map_or_else(|refused| refused, |()| refusal());
        ready(visits.begin(stray, peer).end(reply))
    }
}

/// The routes of the moment. Clones share them.
#[derive(Clone)]
pub(super) struct Site(Arc<RwLock<Routes>>);

impl Site {
    /// Of one listener.
    pub(super) fn new(routes: Routes) -> Self {
        Self(Arc::new(RwLock::new(routes)))
    }

    /// Answers by these routes from the next request on; those under way go on as they began.
    pub(super) fn replace(&self, routes: Routes) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    /// One request; whatever it asks for, there is a reply.
    pub(super) fn answer(&self, peer: Peer, mut request: Request<Body>) -> RouteFuture<Infallible> {
        request.extensions_mut().insert(peer);
        // A router is always ready; its clone is one counter.
        let mut router = self.0.read().unwrap_or_else(PoisonError::into_inner).router.clone();
        router.call(request)
    }

    /// What is sent instead of an answer to a head that hyper refuses with this status.
    pub(super) fn unreadable(&self, peer: Peer, status: StatusCode) -> Reply {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        routes.visits.begin(routes.stray, peer).note(Reply::unreadable(status))
    }
}
