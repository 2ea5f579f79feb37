// The simulated swarm.
