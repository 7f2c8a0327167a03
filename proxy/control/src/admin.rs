//! The HTTP API: everything on the operator's socket, and on the agents' socket only what a lease's own secret allows.
//!
//! | route | operator | agents |
//! |---|---|---|
//! | `POST /v1/leases` | yes | |
//! | `POST /v1/leases/derive` | yes | yes, with the parent's secret |
//! | `POST /v1/leases/{id}/revoke` | yes | yes, with its own or an ancestor's secret |
//! | `GET /v1/leases`, `GET /v1/targets` | yes | |
//! | `GET /v1/holds`, `POST /v1/holds/{id}/approve`, `…/deny` | yes | |
//! | `GET /v1/health` | yes | without names |

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Control;
use crate::error::Refusal;
use crate::holds::Decision;
use crate::leases::{CreateRequest, DeriveRequest, NewLease, RevokeRequest, Revoked};
use crate::serve::Peer;

/// The longest request body: two tokens would fit.
const BODY_BYTES_MAX: usize = 64 << 10;

type Answer<T> = Result<Json<T>, Refusal>;
type Plane = State<Arc<Control>>;

/// Routes of `admin.sock`.
pub fn operator(control: Arc<Control>) -> Router {
    Router::new()
        .route("/v1/leases", get(leases).post(create))
        .route("/v1/leases/derive", post(derive))
        .route("/v1/leases/{id}/revoke", post(revoke))
        .route("/v1/holds", get(holds))
        .route("/v1/holds/{id}/approve", post(approve))
        .route("/v1/holds/{id}/deny", post(deny))
        .route("/v1/targets", get(targets))
        .route("/v1/health", get(health))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

/// Routes of `agents.sock`.
pub fn agents(control: Arc<Control>) -> Router {
    Router::new()
        .route("/v1/leases/derive", post(derive))
        .route("/v1/leases/{id}/revoke", post(revoke_held))
        .route("/v1/health", get(alive))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(control)
}

async fn unknown() -> Refusal {
    Refusal::missing(
        "no such path on this socket",
        "leases are created and holds decided on admin.sock",
    )
}

async fn wrong_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path takes another method",
        "GET reads, POST changes",
    )
}

/// The body as JSON; the parser's words go back to whoever sent it and nowhere else.
fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        Refusal::bad(
            format!("the request cannot be read: {error}"),
            "send a JSON object",
        )
    })
}

async fn create(
    State(control): Plane,
    Extension(peer): Extension<Peer>,
    bytes: Bytes,
) -> Result<(StatusCode, Json<NewLease>), Refusal> {
    let request: CreateRequest = body(&bytes)?;
    Ok((
        StatusCode::CREATED,
        Json(control.create_lease(request, peer.to_string()).await?),
    ))
}

async fn derive(State(control): Plane, bytes: Bytes) -> Result<(StatusCode, Json<NewLease>), Refusal> {
    let request: DeriveRequest = body(&bytes)?;
    Ok((StatusCode::CREATED, Json(control.derive_lease(request).await?)))
}

fn revocation(bytes: &[u8]) -> Result<RevokeRequest, Refusal> {
    if bytes.is_empty() {
        Ok(RevokeRequest::default())
    } else {
        body(bytes)
    }
}

async fn revoke(
    State(control): Plane,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Answer<Revoked> {
    Ok(Json(
        control
            .revoke_lease(id, revocation(&bytes)?, peer.to_string())
            .await?,
    ))
}

async fn revoke_held(State(control): Plane, Path(id): Path<String>, bytes: Bytes) -> Answer<Revoked> {
    Ok(Json(control.revoke_held_lease(id, revocation(&bytes)?).await?))
}

async fn leases(State(control): Plane, RawQuery(query): RawQuery) -> Answer<Value> {
    let all = match query.as_deref() {
        None | Some("" | "all=false") => false,
        Some("all" | "all=true") => true,
        Some(_) => return Err(Refusal::bad("the query cannot be read", "all=true or all=false")),
    };
    Ok(Json(json!({ "leases": control.list_leases(all).await? })))
}

async fn holds(State(control): Plane) -> Json<Value> {
    Json(json!({ "holds": control.pending_holds() }))
}

async fn approve(State(control): Plane, Path(id): Path<String>, bytes: Bytes) -> Answer<Decision> {
    Ok(Json(control.approve(id, body(&bytes)?).await?))
}

async fn deny(State(control): Plane, Path(id): Path<String>, bytes: Bytes) -> Answer<Decision> {
    Ok(Json(control.deny(id, body(&bytes)?).await?))
}

async fn targets(State(control): Plane) -> Json<Value> {
    Json(json!({ "targets": control.settings().targets }))
}

async fn health(State(control): Plane) -> Json<Value> {
    let book = control.book();
    Json(json!({
        "ok": true,
        "version": book.version(),
        "data_planes": book.planes(),
        "leases": book.lease_count(),
        "holds": book.holds.len(),
    }))
}

async fn alive(State(control): Plane) -> Json<Value> {
    Json(json!({ "ok": true, "version": control.book().version() }))
}
