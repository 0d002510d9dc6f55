//! What the coordinator grants to whoever reaches its port, before it knows who that is.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long it takes until another connection is accepted where the system had none to give.
const PAUSE: Duration = Duration::from_millis(50);

/// Messages that a worker may send at once, and in a second from then on: five heartbeats, what happens to it, and in a
/// training of very short steps, what it holds after each of them.
const BURST: f64 = 8192.0;
const PER_SECOND: f64 = 2048.0;

/// A connection that holds one of the places that there are.
#[derive(Debug)]
pub(crate) struct Guest {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// Connections as they come, at most so many at a time; further ones wait to be accepted. One that at first says nothing for
/// longer than `patience` is closed, so that nobody holds a place by silence.
pub(crate) fn guests(
    listener: TcpListener,
    places: usize,
    patience: Duration,
) -> impl Stream<Item = io::Result<Guest>> {
    let (arrived, guests) = mpsc::channel(1);
    tokio::spawn(admit(listener, Arc::new(Semaphore::new(places)), patience, arrived));
    stream::unfold(guests, async |mut guests| Some((Ok(guests.recv().await?), guests)))
}

async fn admit(
    listener: TcpListener,
    places: Arc<Semaphore>,
    patience: Duration,
    arrived: mpsc::Sender<Guest>,
) {
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = arrived.closed() => return,
        };
        // Without file descriptors there is nothing to do but to wait for some.
        let Ok((stream, _)) = stream else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let arrived = arrived.clone();
        tokio::spawn(async move {
            if let Ok(Ok(1)) = timeout(patience, stream.peek(&mut [0])).await {
                let _ = arrived.send(Guest { stream, _place: place }).await;
            }
        });
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Guest {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

/// How much somebody may still say: a bucket that fills by the second.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: f64,
    counted: Instant,
}

impl Allowance {
    /// A full one.
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: BURST, counted: now }
    }

    /// Takes one message from it; false where there is none left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = now.duration_since(self.counted).as_secs_f64();
        self.left = (self.left + PER_SECOND * since).min(BURST) - 1.0;
        self.counted = now;
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn an_allowance_bears_a_burst_and_then_a_steady_talk() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(now);
        let all_at_once = (0..2 * BURST as usize).filter(|_| allowance.take(now)).count();
        assert_eq!(all_at_once, BURST as usize);
        let mut allowance = Allowance::new(now);
        for _ in 0..2 * BURST as usize {
            assert!(allowance.take(now));
            now += Duration::from_secs_f64(1.0 / PER_SECOND);
        }
    }

    #[tokio::test]
    async fn there_are_so_many_places_and_one_that_is_left_is_given_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut guests = Box::pin(guests(listener, 2, LONG));
        let mut callers = Vec::new();
        for _ in 0..3 {
            let mut caller = TcpStream::connect(address).await.unwrap();
            caller.write_all(b"hello").await.unwrap();
            callers.push(caller);
        }
        let first = guests.next().await.unwrap().unwrap();
        let _second = guests.next().await.unwrap().unwrap();
        assert!(timeout(Duration::from_millis(100), guests.next()).await.is_err(), "a third place was given");
        drop(first);
        guests.next().await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_says_nothing_loses_the_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut guests = Box::pin(guests(listener, 1, Duration::from_millis(50)));
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(b"hello").await.unwrap();
        let guest = timeout(LONG, guests.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(guest.stream.peer_addr().unwrap(), caller.local_addr().unwrap());
    }
}
