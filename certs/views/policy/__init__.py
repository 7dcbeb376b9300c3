"""The pages of the policy: versions on a time line, drafts, replays and waivers."""
