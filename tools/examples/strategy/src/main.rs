//! A strategy of one's own in a binary of one's own: news and features in, signals out, and a slow model asked on a thread beside the measured cores.
//!
//! ```sh
//! cargo run --release -p news-momentum -- replay                          # a generated session
//! cargo run --release -p news-momentum -- replay CAPTURE... --speed max   # one's own, and every other verb of tapeline
//! ```

use bytemuck::{Pod, Zeroable};
use scorer::{NewsScorer, SCORE, token_of};
use std::process::ExitCode;
use tapeline::prelude::*;

mod scorer;

/// Follows news once the price does: a text with a strong sentiment is scored by a model and arms the symbol, a move in its direction within the
/// next five seconds signals, and three seconds later the position is given up. Parameters are the strategy's own, what it learns of a symbol
/// is in its state.
struct NewsMomentum {
    /// Weakest sentiment that counts, hundredths.
    sentiment_min: i8,
    /// Least move, in volatilities of a bar.
    move_min: f64,
    confirm_ns: u64,
    hold_ns: u64,
}

/// What it remembers of one symbol: plain data, owned by the engine, put back when a call fails. Zero bytes = nothing yet.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Position {
    price: f64,
    volatility: f64,
    armed: f64,
    armed_price: f64,
    armed_until: u64,
    side: f64,
    /// The venue takes no order before this.
    rests_until: u64,
    /// The text that the model is asked about: its request, and its own sentiment, -1 to 1.
    asked: RequestId,
    sentiment: f64,
}

/// Codes of failures: what `tapeline dlq` lists them by.
const NO_PRICE: u16 = 1;
const RESTING: u16 = 2;
const NO_ROOM: u16 = 3;

impl NewsMomentum {
    fn new() -> Self {
        Self { sentiment_min: 50, move_min: 0.25, confirm_ns: 5_000_000_000, hold_ns: 3_000_000_000 }
    }

    fn order(&self, strength: f64, price: f64, cx: &mut Ctx<'_>) -> Result<(), Full> {
        let side = if strength > 0.0 { Side::Bid } else { Side::Ask };
        let price = (price * PRICE_ONE as f64).round() as i64;
        cx.signal(&Signal { strength, price, side: side as u8, strategy: 1, ..Signal::default() })
    }

    fn on_news(&self, position: &mut Position, news: &News, cx: &mut Ctx<'_>) -> Verdict {
        let now = cx.now();
        if news.sentiment.saturating_abs() < self.sentiment_min {
            return Verdict::Done;
        }
        if position.price == 0.0 {
            return Verdict::Fail(NO_PRICE); // nothing to measure a move from: the event is parked for a person to see
        }
        if position.side != 0.0 || now.0 < position.rests_until {
            return Verdict::Retry(RESTING); // not now: this handler gets the same event again, with backoff
        }
        // The model is slow: it is asked on a thread of its own, and says its word in `on_reply`. Moves count from here on.
        let expires_at = now.saturating_add(self.confirm_ns);
        let wish = Wish { job: SCORE, groups: 0, priority: Priority::FIRST, expires_at, token: token_of(news) };
        let Ok(asked) = cx.request(&wish) else { return Verdict::Fail(NO_ROOM) };
        position.asked = asked;
        position.sentiment = f64::from(news.sentiment) / 100.0;
        position.armed = 0.0;
        position.armed_price = position.price;
        position.armed_until = expires_at.0;
        Verdict::Done
    }

    fn on_features(&self, position: &mut Position, event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let Some(features) = event.get::<Features>().filter(|features| features.set == SET_2) else {
            return Verdict::Done;
        };
        for (index, value) in Features::values_of(event).enumerate() {
            let is_ready = features.ready >> index & 1 == 1; // not warmed up is not zero
            match index {
                _ if !is_ready => {}
                _ if index == Feature::LastPrice as usize => position.price = value,
                _ if index == Feature::EwmaVolatility as usize => position.volatility = value,
                _ => {}
            }
        }
        if position.armed == 0.0 {
            return Verdict::Done;
        }
        if cx.now().0 > position.armed_until {
            position.armed = 0.0;
            return Verdict::Done;
        }
        let moved = (position.price / position.armed_price - 1.0) * position.armed.signum();
        if moved <= self.move_min * position.volatility {
            return Verdict::Done;
        }
        // If a staging area is full, the whole call is undone, this state included.
        let is_done = self.order(position.armed, position.price, cx).is_ok()
            && cx.timer_at(cx.now().saturating_add(self.hold_ns), 0).is_ok();
        (position.side, position.armed) = (position.armed.signum(), 0.0);
        if is_done { Verdict::Done } else { Verdict::Fail(NO_ROOM) }
    }
}

impl Handler for NewsMomentum {
    type State = Position;
    const NAME: &'static str = "news_momentum";
    const STATE_VERSION: u16 = 1;
    /// Each call is measured; those that take longer are counted and told in the report.
    const BUDGET_NS: Option<u64> = Some(5_000);

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::NEWS, Kind::FEATURES])
    }

    fn on_event(&self, position: &mut Position, event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        match event.get::<News>() {
            Some(news) => self.on_news(position, news, cx),
            None => self.on_features(position, event, cx),
        }
    }

    /// What the model says: as strong as that is what a move will signal.
    fn on_reply(&self, position: &mut Position, request: RequestId, reply: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        if let Some(score) = reply.get::<Signal>()
            && request == position.asked
        {
            position.armed = score.strength;
        }
        Verdict::Done
    }

    /// Without a word from the model (it gave up, panicked, took too long) the text's own sentiment counts, at half its strength.
    fn on_request_end(
        &self,
        position: &mut Position,
        request: RequestId,
        end: RequestEnd,
        _cx: &mut Ctx<'_>,
    ) -> Verdict {
        if request == position.asked {
            if end != RequestEnd::Served {
                position.armed = position.sentiment / 2.0;
            }
            position.asked = RequestId::NONE;
        }
        Verdict::Done
    }

    /// The position has been held long enough: out of it, and a second without orders.
    fn on_timer(&self, position: &mut Position, _token: u64, cx: &mut Ctx<'_>) -> Verdict {
        let out = self.order(-position.side, position.price, cx);
        position.side = 0.0;
        position.rests_until = cx.now().0 + 1_000_000_000;
        if out.is_ok() { Verdict::Done } else { Verdict::Fail(NO_ROOM) }
    }
}

fn main() -> ExitCode {
    tapeline::main(|r| r.handler(NewsMomentum::new).job(SCORE, NewsScorer::new))
}
