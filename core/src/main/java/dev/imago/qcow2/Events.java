package dev.imago.qcow2;

import java.util.List;

/**
 * The one hook into {@link Durability}. Fault injection stands on it; without it nothing happens.
 */
interface Events {

  /** The stages of a flush, in the order that keeps the disk valid at every instant. */
  enum Stage {
    /** The header's dirty bit, before refcounts stay in memory. REFCOUNTS has its barrier. */
    DIRTY,
    /** Refcount slices; its barrier also makes guest data and copied tables safe. */
    REFCOUNTS,
    /** Refcount table entries in place, or a whole new refcount table. */
    REFTABLE,
    /** The header's pointer to a new refcount table. */
    REFTABLE_POINTER,
    /** L2 slices. */
    L2,
    /** L1 entries in place, or a whole new L1 table. */
    L1,
    /** The header's pointer to a new L1 table. */
    L1_POINTER,
    /** The disk's size in the header. */
    SIZE,
    /** The header's pointer to a new snapshot table, and the number of snapshots. */
    SNAPSHOTS,
    /** The header's dirty bit is cleared: all counts are on the disk. */
    CLEAN,
    /** Clusters whose unlinking is durable leave quarantine. */
    RELEASE
  }

  /** Does nothing. */
  Events NONE = new Events() {};

  /** Called before a stage's first write, and before the first barrier. */
  default void entering(Stage stage) {}

  /** Called when a flush, or a cleaning, has ended in whatever way. */
  default void left() {}

  /** Whether the barrier behind a stage is left out. Only for proving that a test would notice. */
  default boolean skipsBarrier(Stage stage) {
    return false;
  }

  /** The order of the stages. Only for proving that a test would notice. */
  default List<Stage> order(List<Stage> stages) {
    return stages;
  }

  /**
   * Whether the disk does not say that bitmaps are in use. Only for proving that a test would
   * notice.
   */
  default boolean skipsInUse() {
    return false;
  }

  /**
   * Whether freed clusters may be used again at once. Only for proving that a test would notice.
   */
  default boolean skipsQuarantine() {
    return false;
  }
}
