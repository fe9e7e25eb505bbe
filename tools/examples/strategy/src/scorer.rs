//! What takes its time, off the measured cores: a model that says how much of a text's sentiment the price is likely to follow.

use tapeline::prelude::*;

/// What [`NewsMomentum`](super::NewsMomentum) asks for, one of the numbers that are for users.
pub(crate) const SCORE: Job = Job(16);
/// Code of a job that asked what is no sentiment.
const NO_SENTIMENT: u16 = 1;
/// Looks that the model takes at one text: it stands for a model in a file, or a service somewhere else, and takes a millisecond as they do.
const PASSES: u32 = 200_000;

/// A worker: one for each thread of workers, made when its first job comes. It may keep whatever it likes, open files and sockets, and block; only what it
/// replies has to depend on nothing but what it is asked, so that a replay comes out the same whichever thread did the job.
pub(crate) struct NewsScorer {
    /// Weights of the text's sentiment, its urgency, and both together.
    weights: [f64; 3],
}

impl NewsScorer {
    /// A model. In earnest it is loaded here: this runs on the worker's thread, and nobody waits for it.
    pub(crate) fn new() -> Self {
        Self { weights: [1.5, 0.25, 1.0] }
    }

    /// From -1 to 1, with the sign of the sentiment.
    fn score(&self, sentiment: f64, urgency: f64) -> f64 {
        let [alone, pressing, both] = self.weights;
        let drive = alone * sentiment.abs() + pressing * urgency + both * sentiment.abs() * urgency;
        // The fixed point of s = drive / (1 + drive + s): as slow as it is plain.
        let mut score = 0.0;
        for _ in 0..PASSES {
            score = drive / (1.0 + drive + std::hint::black_box(score));
        }
        score * sentiment.signum()
    }
}

/// A question in the one word that a request has room for.
pub(crate) fn token_of(news: &News) -> u64 {
    u64::from(news.urgency) << 8 | u64::from(news.sentiment.cast_unsigned())
}

impl Worker for NewsScorer {
    const NAME: &'static str = "news_scorer";

    fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16> {
        let [sentiment, urgency, ..] = ask.token.to_le_bytes();
        let sentiment = sentiment.cast_signed();
        if !(-100..=100).contains(&sentiment) {
            return Err(NO_SENTIMENT); // the request ends with this code, and who asked is told
        }
        let strength = self.score(f64::from(sentiment) / 100.0, f64::from(urgency) / 255.0);
        reply.push(&EventBuf::new(&Signal { strength, ..Signal::default() })).map_err(|_| NO_SENTIMENT)
    }
}
