//! Reads the rest of a body after its request was refused, for example because the body is too large. If a connection
//! is closed with unread bytes, it is reset, and the client may never see the answer.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;

/// A body whose rest is read when it is dropped.
pub(super) struct ReadToEnd {
    body: Body,
    is_ended: bool,
    /// Longest time for the rest.
    longest: Duration,
}

impl ReadToEnd {
    pub fn new(body: Body, longest: Duration) -> Self {
        Self { is_ended: body.is_end_stream(), body, longest }
    }
}

impl HttpBody for ReadToEnd {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.is_ended = matches!(frame, None | Some(Err(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ReadToEnd {
    fn drop(&mut self) {
        if self.is_ended || self.body.is_end_stream() {
            return;
        }
        let (mut body, longest) = (mem::take(&mut self.body), self.longest);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(longest, async move {
                while let Some(Ok(_)) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
            }));
        }
    }
}
