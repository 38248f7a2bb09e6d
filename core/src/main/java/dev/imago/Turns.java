package dev.imago;

import java.io.IOException;

/** Lets workers do one part of their work in the order of their batches' numbers. */
final class Turns {
  private final boolean inOrder;
  private long next;
  private boolean abandoned;

  /** Numbers are counted from 0; if the order does not matter, nobody waits. */
  Turns(boolean inOrder) {
    this.inOrder = inOrder;
  }

  /** What is done in order. */
  @FunctionalInterface
  interface Part {
    void run() throws IOException;
  }

  /**
   * Runs a part when those with lower numbers have ended.
   *
   * @return false if one of them never will: the part was not run
   */
  boolean take(long number, Part part) throws IOException {
    if (!inOrder) {
      part.run();
      return true;
    }
    if (!await(number)) {
      return false;
    }
    part.run();
    synchronized (this) {
      next = number + 1;
      notifyAll();
    }
    return true;
  }

  /** An interrupt does not end the wait; the thread's status is kept. */
  private synchronized boolean await(long number) {
    boolean interrupted = false;
    while (next != number && !abandoned) {
      try {
        wait();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return !abandoned;
  }

  /** A part has failed, or will never be run: nobody waits for it any more. */
  synchronized void abandon() {
    abandoned = true;
    notifyAll();
  }
}
