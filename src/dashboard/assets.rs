//! Files of the pages, from the binary.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

/// Paths of the files.
pub(super) const STYLE: &str = "/assets/dashboard.css";
pub(super) const SCRIPT: &str = "/assets/dashboard.js";
pub(super) const ICON: &str = "/assets/icon.svg";

const STYLE_TEXT: &str = concat!(
    include_str!("assets/base.css"),
    include_str!("assets/parts.css"),
    include_str!("assets/charts.css"),
);
const SCRIPT_TEXT: &str = include_str!("assets/dashboard.js");
const ICON_TEXT: &str = include_str!("assets/icon.svg");

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE_TEXT)
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT_TEXT)
}

pub(super) async fn icon() -> Response {
    file("image/svg+xml", ICON_TEXT)
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let content_type = HeaderValue::from_static(content_type);
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
