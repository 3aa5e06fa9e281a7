//! AMC's agent: deep deterministic policy gradients (arXiv 1509.02971) with the settings of arXiv 1802.03494 and its released
//! code.
//! Observations are in [0, 1], as is the one action.
//!
//! ```text
//! actor μ(s): → 300 → 300 → sigmoid      critic Q(s, a): → 300 → 300 → 1      both with slowly following targets μ', Q'
//! y = r − b + Q'(s', μ'(s')), at an episode's end r − b;   b moves half way to each batch's mean reward
//! critic: (Q(s, a) − y)² falls;   actor: Q(s, μ(s)) rises
//! ```

use super::mlp::{Adam, Mlp, bits};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use settings::settings;
use std::f32::consts::TAU;

settings! {
    /// Sizes and rates of the agent.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct DdpgConfig {
        /// Units of each hidden layer of actor and critic.
        pub hidden: usize = 300, number(within(1, 4096); "units");
        /// Learning rate of the actor.
        pub lr_actor: f32 = 1e-4, number(above(0));
        /// Learning rate of the critic.
        pub lr_critic: f32 = 1e-3, number(above(0));
        /// Share by which the target networks follow at each update.
        pub tau: f32 = 0.01, number(above(0), at_most(1));
        /// Transitions per update.
        pub batch: usize = 64, number(within(1, 65_536));
    }
}

/// One step of an episode. The action is the agent's own, before anything limited it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Transition {
    pub(crate) observation: Vec<f32>,
    /// What was done.
    pub action: f32,
    /// What was seen next; `None` at the end.
    pub next: Option<Vec<f32>>,
}

/// The latest transitions, each with the reward of its episode; the newest replaces the oldest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Replay {
    n_seen: usize,
    most: usize,
    stored: usize,
    /// Rows of observation, next, action, reward, and 1 where there is a next.
    #[serde(with = "bits")]
    rows: Vec<f32>,
}

impl Replay {
    fn width(&self) -> usize {
        2 * self.n_seen + 3
    }

    fn len(&self) -> usize {
        self.stored.min(self.most)
    }

    fn push(&mut self, transition: &Transition, reward: f32) {
        let mut row = transition.observation.clone();
        row.extend(transition.next.as_ref().unwrap_or(&transition.observation));
        row.extend([
            transition.action,
            reward,
            f32::from(u8::from(transition.next.is_some())),
        ]);
        let from = self.stored % self.most * self.width();
        if from == self.rows.len() {
            self.rows.extend(row);
        } else {
            self.rows[from..from + row.len()].copy_from_slice(&row);
        }
        self.stored += 1;
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.rows[index * self.width()..][..self.width()]
    }
}

/// The agent, whole: saved and read back it goes on in the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ddpg {
    config: DdpgConfig,
    n_seen: usize,
    actor: Mlp,
    critic: Mlp,
    slow_actor: Mlp,
    slow_critic: Mlp,
    actor_steps: Adam,
    critic_steps: Adam,
    replay: Replay,
    baseline: Option<f32>,
}

impl Ddpg {
    /// An agent that has seen nothing, for observations of `n_seen` numbers and a memory of `replay` transitions.
    pub(crate) fn new(config: DdpgConfig, n_seen: usize, replay: usize, rng: &mut ChaCha8Rng) -> Self {
        let actor = Mlp::new(n_seen, config.hidden, rng);
        let critic = Mlp::new(n_seen + 1, config.hidden, rng);
        Self {
            n_seen,
            slow_actor: actor.clone(),
            slow_critic: critic.clone(),
            actor_steps: Adam::new(config.lr_actor, actor.n_params()),
            critic_steps: Adam::new(config.lr_critic, critic.n_params()),
            actor,
            critic,
            replay: Replay {
                n_seen,
                most: replay.max(1),
                stored: 0,
                rows: Vec::new(),
            },
            baseline: None,
            config,
        }
    }

    /// What it would do without noise.
    pub(crate) fn act(&self, observation: &[f32]) -> f32 {
        sigmoid(self.actor.run(observation).out[0])
    }

    /// Stores a transition with its episode's final reward.
    pub(crate) fn remember(&mut self, transition: &Transition, reward: f32) {
        self.replay.push(transition, reward);
    }

    /// One step of critic and actor on a batch drawn from memory, with replacement.
    pub(crate) fn update(&mut self, rng: &mut ChaCha8Rng) {
        if self.replay.len() == 0 {
            return;
        }
        let n = self.config.batch;
        let (mut seen, mut next, mut pairs, mut rest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..n {
            let row = self.replay.row(rng.random_range(0..self.replay.len()));
            let (observation, tail) = row.split_at(self.n_seen);
            seen.extend_from_slice(observation);
            next.extend_from_slice(&tail[..self.n_seen]);
            pairs.extend_from_slice(observation);
            pairs.push(tail[self.n_seen]);
            rest.push([tail[self.n_seen + 1], tail[self.n_seen + 2]]);
        }
        let mean = rest.iter().map(|r| r[0]).sum::<f32>() / n as f32;
        let baseline = self.baseline.map_or(mean, |b| b + 0.5 * (mean - b));
        self.baseline = Some(baseline);

        let ahead = self
            .slow_critic
            .run(&self.joined(&next, &self.slow_actor.run(&next).out))
            .out;
        let trace = self.critic.run(&pairs);
        let errors: Vec<f32> = (0..n)
            .map(|i| trace.out[i] - (rest[i][0] - baseline + rest[i][1] * ahead[i]))
            .map(|error| 2.0 * error / n as f32)
            .collect();
        let mut grads = vec![0.0; self.critic.n_params()];
        self.critic.back(&pairs, &trace, &errors, Some(&mut grads));
        self.critic_steps.step(&mut self.critic, &grads);

        let trace = self.actor.run(&seen);
        let joined = self.joined(&seen, &trace.out);
        let up = vec![-1.0 / n as f32; n];
        let d_joined = self.critic.back(&joined, &self.critic.run(&joined), &up, None);
        let d_actions: Vec<f32> = (0..n)
            .map(|i| {
                let action = joined[i * (self.n_seen + 1) + self.n_seen];
                d_joined[i * (self.n_seen + 1) + self.n_seen] * action * (1.0 - action)
            })
            .collect();
        let mut grads = vec![0.0; self.actor.n_params()];
        self.actor.back(&seen, &trace, &d_actions, Some(&mut grads));
        self.actor_steps.step(&mut self.actor, &grads);

        self.slow_actor.follow(&self.actor, self.config.tau);
        self.slow_critic.follow(&self.critic, self.config.tau);
    }

    /// The critic's inputs: each observation with the action whose sigmoid is yet to be taken.
    fn joined(&self, seen: &[f32], raw: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(seen.len() + raw.len());
        for (observation, raw) in seen.chunks_exact(self.n_seen).zip(raw) {
            out.extend_from_slice(observation);
            out.push(sigmoid(*raw));
        }
        out
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Noise of an episode, counted from the end of the warm-up: `sigma` · `decay`^episode.
pub(crate) fn noise(sigma: f32, decay: f32, episode: u64) -> f32 {
    sigma * decay.powi(episode.min(1_000_000) as i32)
}

/// A normal number cut off at 0 and 1, for a mean between them.
pub(crate) fn truncated_normal(mean: f32, sigma: f32, rng: &mut ChaCha8Rng) -> f32 {
    // A draw is within [0, 1] about every third time at the least, so the last resort is one in billions.
    for _ in 0..64 {
        let (u, v): (f32, f32) = (1.0 - rng.random::<f32>(), rng.random());
        let x = mean + sigma * (-2.0 * u.ln()).sqrt() * (TAU * v).cos();
        if (0.0..=1.0).contains(&x) {
            return x;
        }
    }
    mean.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(2)
    }

    fn small() -> DdpgConfig {
        DdpgConfig {
            hidden: 24,
            lr_actor: 1e-3,
            lr_critic: 1e-2,
            batch: 16,
            ..DdpgConfig::default()
        }
    }

    #[test]
    fn noise_falls_as_in_the_code_and_as_elsewhere() {
        let episodes = [101, 110, 120, 150, 200].map(|e| e - 100);
        for (decay, expected) in [
            (0.95, [0.475, 0.299_37, 0.179_24, 0.038_47, 0.002_96]),
            (0.99, [0.495, 0.452_19, 0.408_95, 0.302_50, 0.183_02]),
        ] {
            for (episode, sigma) in episodes.into_iter().zip(expected) {
                assert!((noise(0.5, decay, episode) - sigma).abs() < 1e-5, "{decay} {episode}");
            }
        }
    }

    #[test]
    fn cut_off_noise_stays_within_and_around_its_mean() {
        let mut rng = rng();
        for (mean, sigma, expected) in [(0.5, 0.1, 0.5), (0.0, 0.1, 0.0798), (0.9, 0.5, 0.6129), (1.0, 0.0, 1.0)] {
            let drawn: Vec<f32> = (0..4000).map(|_| truncated_normal(mean, sigma, &mut rng)).collect();
            assert!(drawn.iter().all(|x| (0.0..=1.0).contains(x)));
            let got = drawn.iter().sum::<f32>() / 4000.0;
            assert!((got - expected).abs() < 0.02, "{mean} {sigma}: {got}");
        }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut replay = Replay {
            n_seen: 1,
            most: 3,
            stored: 0,
            rows: Vec::new(),
        };
        for i in 0..5u8 {
            let seen = f32::from(i);
            let next = (i % 2 == 0).then(|| vec![seen + 0.5]);
            let transition = Transition {
                observation: vec![seen],
                action: 0.25,
                next,
            };
            replay.push(&transition, seen * 10.0);
        }
        assert_eq!(replay.len(), 3);
        assert_eq!(replay.row(0), [3.0, 3.0, 0.25, 30.0, 0.0]);
        assert_eq!(replay.row(1), [4.0, 4.5, 0.25, 40.0, 1.0]);
        assert_eq!(replay.row(2), [2.0, 2.5, 0.25, 20.0, 1.0]);
    }

    /// Episodes of one step: the best action is the first number seen.
    fn taught(updates: usize, rng: &mut ChaCha8Rng) -> Ddpg {
        let mut agent = Ddpg::new(small(), 2, 400, rng);
        for _ in 0..400 {
            let seen: f32 = rng.random();
            let action: f32 = rng.random();
            let transition = Transition {
                observation: vec![seen, 1.0],
                action,
                next: None,
            };
            agent.remember(&transition, 1.0 - 4.0 * (action - seen).powi(2));
        }
        for _ in 0..updates {
            agent.update(rng);
        }
        agent
    }

    #[test]
    fn it_learns_what_pays_from_what_it_remembers() {
        let error = |agent: &Ddpg| {
            let errors = [0.1, 0.3, 0.5, 0.7, 0.9].map(|seen| (agent.act(&[seen, 1.0]) - seen).abs());
            errors.iter().sum::<f32>() / 5.0
        };
        let (before, after) = (error(&taught(0, &mut rng())), error(&taught(1500, &mut rng())));
        assert!(before > 0.2 && after < 0.08, "{before} {after}");
    }

    #[test]
    fn a_saved_agent_goes_on_in_the_same_way() {
        let mut rng = rng();
        let mut agent = taught(20, &mut rng);
        let text = serde_json::to_string(&(&agent, &rng)).unwrap();
        let (mut back, mut its_rng): (Ddpg, ChaCha8Rng) = serde_json::from_str(&text).unwrap();
        assert_eq!(back, agent);
        for _ in 0..20 {
            agent.update(&mut rng);
            back.update(&mut its_rng);
        }
        assert_eq!(back, agent);
    }
}
