package dev.imago.filter;

import dev.imago.storage.BlockEvent;
import java.util.Set;

/** What a {@link FaultStorage} does when an event comes in one of its states. */
public sealed interface FaultRule {

  /** The event. */
  BlockEvent event();

  /** The state in which it counts; 0 for every state. */
  int state();

  /** Kinds of requests. */
  enum Request {
    READ,
    WRITE,
    WRITE_ZEROES,
    DISCARD,
    FLUSH
  }

  /**
   * From the event on, until another event injects something, requests fail.
   *
   * @param requests which kinds
   * @param errno Linux's number of the error; 0 takes back what earlier events have injected
   * @param sector the 512 bytes that must be touched, or -1 for any
   * @param once whether only one request fails, and the rule is gone then
   */
  record Inject(
      BlockEvent event, int state, Set<Request> requests, int errno, long sector, boolean once)
      implements FaultRule {
    /** All kinds of requests fail with an I/O error. */
    public static Inject everything(BlockEvent event) {
      return new Inject(event, 0, Set.of(Request.values()), 5, -1, false);
    }
  }

  /**
   * The event changes the state.
   *
   * @param newState positive
   */
  record SetState(BlockEvent event, int state, int newState) implements FaultRule {}
}
