//! The process that started this one.

use tokio::sync::oneshot;

/// Ends when standard input does, as it does when whoever holds its other end is gone; never if nobody asked for that.
pub(crate) async fn gone(watch: bool) {
    let (gone, ended) = oneshot::channel();
    if watch {
        // A thread of its own: reading standard input cannot be given up once begun.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = gone.send(());
        });
        let _ = ended.await;
    } else {
        std::future::pending().await
    }
}
