package dev.imago.qcow2;

import dev.imago.image.LuksOptions;
import dev.imago.image.Secret;
import dev.imago.image.SyncMode;
import dev.imago.storage.FileStorage;
import dev.imago.testing.CrashImage;
import dev.imago.testing.Qemu;
import dev.imago.testing.Script.Mix;
import dev.imago.testing.Script.Op;
import dev.imago.testing.Stamp;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.random.RandomGenerator;

/**
 * What one crash run is made of. All follows from the kind and the seed.
 *
 * @param kind what the run is about; never {@link Kind#LAZY}
 * @param lazy whether that is done with lazy refcounts
 * @param size of the disk in bytes
 * @param maxSize resizes do not go above this
 * @param cacheBytes for L2 slices, and as many for refcounts
 * @param steps things that the script does
 * @param threads 1 for a script that can be run again exactly
 * @param discardUnit as {@link dev.imago.testing.CrashStorage#behaving} takes it
 */
record CrashSetup(
    Kind kind,
    long seed,
    boolean lazy,
    int clusterSize,
    int refcountBits,
    int version,
    long size,
    long maxSize,
    long cacheBytes,
    long quarantineBytes,
    Mix mix,
    int steps,
    int threads,
    int discardUnit,
    boolean zeroesCheaply) {

  /** What the run is about. */
  enum Kind {
    PLAIN,
    /** Copy on write from a backing image that ends before the overlay, or behind it. */
    BACKING,
    DATA_FILE,
    DATA_FILE_RAW,
    /** Resizes all the time: L1 tables of one cluster and more. */
    L1_GROWTH,
    /** 512-byte clusters, 64-bit counts: the refcount table soon is too short. */
    REFCOUNT_GROWTH,
    /** Caches of one or two slices: evictions in the middle of everything. */
    SMALL_CACHES,
    /** Clusters compressed by qemu-img that are overwritten and discarded. */
    COMPRESSED,
    /** An internal snapshot made by qemu-img shares tables and clusters. */
    SNAPSHOT,
    /** Internal snapshots are made, applied and deleted among all the rest. */
    SNAPSHOTS,
    /** The file is compacted again and again, with snapshots and without. */
    COMPACT,
    /** The same where a long refcount table and many blocks move. */
    COMPACT_REFCOUNTS,
    /** Dirty bitmaps made by qemu-img: one notes changes, one does not. */
    BITMAPS,
    /** Guest data is encrypted: nothing unwritten reads as zero. */
    ENCRYPTED,
    /** A flush runs beside writers. */
    THREADS,
    /** Without barriers of the host: only what a killed process leaves must be right. */
    KILLED,
    /** Compresses clusters, and overwrites and discards them. */
    COMPRESSING,
    /** Clusters with subclusters: with a backing image, a snapshot, compressed ones, or alone. */
    EXTENDED_L2,
    /** Clusters with subclusters in a data file, which may be raw. */
    EXTENDED_L2_DATA_FILE,
    /**
     * The disk grows with all clusters in their places: over a backing image, in a data file which
     * may be raw, with subclusters, or alone.
     */
    PREALLOCATING,
    /** One of {@link #LATE}, with lazy refcounts. */
    LAZY
  }

  /** What is done with lazy refcounts, seed after seed. */
  private static final List<Kind> LATE =
      List.of(
          Kind.PLAIN,
          Kind.SNAPSHOTS,
          Kind.SMALL_CACHES,
          Kind.COMPRESSING,
          Kind.REFCOUNT_GROWTH,
          Kind.BACKING,
          Kind.BITMAPS,
          Kind.L1_GROWTH,
          Kind.COMPACT,
          Kind.EXTENDED_L2,
          Kind.THREADS,
          Kind.DATA_FILE,
          Kind.KILLED,
          Kind.PREALLOCATING);

  /** Opens encrypted images. */
  static final String PASSPHRASE = "geheim";

  private static final long MIB = 1 << 20;

  static CrashSetup of(Kind asked, long seed) {
    boolean lazy = asked == Kind.LAZY;
    Kind kind = lazy ? LATE.get((int) Math.floorMod(seed - 1, (long) LATE.size())) : asked;
    RandomGenerator random = new SplittableRandom(seed * 31 + kind.ordinal());
    int cluster = List.of(512, 512, 1024, 4096, 4096, 65536).get(random.nextInt(6));
    int bits = List.of(1, 2, 8, 16, 16, 32, 64).get(random.nextInt(7));
    int version =
        kind != Kind.DATA_FILE && kind != Kind.DATA_FILE_RAW && random.nextInt(8) == 0 && !lazy
            ? 2
            : 3;
    long cache = 1L << 20;
    long quarantine = random.nextInt(3) == 0 ? 16L * cluster : 1L << 30;
    Mix mix = Mix.USUAL.with(Op.REOPEN, 1);
    long size = random.nextInt(4) == 0 ? MIB + 1536 : MIB;
    long maxSize = 2 * size;
    int steps = 80;
    int threads = 1;
    switch (kind) {
      case L1_GROWTH -> {
        cluster = random.nextBoolean() ? 512 : 1024;
        size = 64 << 10;
        maxSize = cluster == 512 ? 6 * MIB : 20 * MIB;
        cache = random.nextBoolean() ? 2L * cluster : cache;
        mix = mix.with(Op.GROW, 8).with(Op.SHRINK, 4).with(Op.FLUSH, 12).with(Op.FILL, 3);
      }
      case REFCOUNT_GROWTH -> {
        cluster = 512;
        bits = 64;
        version = 3;
        size = 4 * MIB;
        maxSize = 5 * MIB;
        mix = mix.with(Op.FILL, 60).with(Op.FLUSH, 16).with(Op.READ, 1);
        steps = 120;
      }
      case SMALL_CACHES -> {
        cluster = random.nextBoolean() ? 512 : 4096;
        cache = cluster * (1L + random.nextInt(2));
        size = cluster == 512 ? MIB : 8 * MIB;
        maxSize = 2 * size;
        mix = mix.with(Op.FLUSH, 2);
      }
      case DATA_FILE -> mix = mix.with(Op.DISCARD_REWRITE_FLUSH, 12).with(Op.GROW, 1);
      case DATA_FILE_RAW ->
          mix = mix.with(Op.DISCARD_REWRITE_FLUSH, 12).with(Op.GROW, 6).with(Op.SHRINK, 4);
      case BACKING -> {
        cache = random.nextBoolean() ? 2L * Math.min(cluster, 4096) : cache;
        mix = mix.with(Op.GROW, 5).with(Op.SHRINK, 4);
      }
      case SNAPSHOT -> {
        bits = Math.max(bits, 2);
        mix = mix.with(Op.COMPRESS, 8);
      }
      case COMPRESSED -> mix = mix.with(Op.DISCARD, 16).with(Op.READ, 20).with(Op.COMPRESS, 20);
      case COMPRESSING ->
          mix =
              mix.with(Op.COMPRESS, 60)
                  .with(Op.DISCARD, 20)
                  .with(Op.FLUSH, 12)
                  .with(Op.READ, 20)
                  .with(Op.GROW, 1)
                  .with(Op.SHRINK, 1);
      case SNAPSHOTS -> {
        cluster = Math.min(cluster, 4096);
        bits = Math.max(bits, 8);
        cache = random.nextBoolean() ? 2L * cluster : cache;
        size = cluster == 512 ? 256 << 10 : MIB;
        maxSize = 2 * size;
        mix =
            mix.with(Op.SNAPSHOT, 8)
                .with(Op.APPLY, 5)
                .with(Op.DELETE_SNAPSHOT, 5)
                .with(Op.GROW, version == 2 ? 0 : 2)
                .with(Op.SHRINK, version == 2 ? 0 : 1);
      }
      case COMPACT -> {
        cluster = Math.min(cluster, 4096);
        bits = Math.max(bits, 8);
        cache = random.nextBoolean() ? 2L * cluster : cache;
        size = cluster == 512 ? 256 << 10 : MIB;
        maxSize = 2 * size;
        mix = mix.with(Op.COMPACT, 10).with(Op.DISCARD, 20);
        if (random.nextBoolean()) {
          mix = mix.with(Op.SNAPSHOT, 4).with(Op.APPLY, 2).with(Op.DELETE_SNAPSHOT, 3);
        }
      }
      case COMPACT_REFCOUNTS -> {
        cluster = 512;
        bits = 64;
        version = 3;
        cache = random.nextBoolean() ? 2L * cluster : cache;
        size = 4 * MIB;
        maxSize = 4 * MIB;
        mix =
            mix.with(Op.FILL, 40)
                .with(Op.GROW, 8)
                .with(Op.SHRINK, 12)
                .with(Op.COMPACT, 10)
                .with(Op.READ, 1);
      }
      case BITMAPS -> {
        version = 3;
        mix = mix.with(Op.GROW, 2).with(Op.SHRINK, 2).with(Op.REOPEN, 6).with(Op.COMPRESS, 6);
        steps = 60;
      }
      case THREADS -> {
        cluster = random.nextBoolean() ? 4096 : 65536;
        size = 16L * cluster;
        cache = random.nextBoolean() ? 8192 : cache;
        threads = 2 + random.nextInt(3);
        steps = 40;
      }
      case EXTENDED_L2, EXTENDED_L2_DATA_FILE -> {
        cluster = random.nextBoolean() ? 16384 : 65536;
        version = 3;
        bits = Math.max(bits, 2);
        cache = random.nextBoolean() ? 8192 : cache;
        mix = mix.with(Op.ZERO, 12).with(Op.RESERVE, 8);
        // A snapshot is compared with what it was, which is as long as the disk was.
        boolean snapshot = kind == Kind.EXTENDED_L2 && seed % 5 == 2;
        mix = snapshot ? mix : mix.with(Op.GROW, 4).with(Op.SHRINK, 3);
      }
      case PREALLOCATING -> {
        boolean extended = seed % 5 == 4 || seed % 5 == 1;
        cluster = extended ? 16384 : Math.min(cluster, 4096);
        version = extended || seed % 5 == 2 || seed % 5 == 3 ? 3 : version;
        cache = random.nextBoolean() ? 8192 : cache;
        size = 300 << 10;
        maxSize = cluster == 512 ? MIB : 3 * MIB;
        mix =
            mix.with(Op.PREALLOCATE, 16)
                .with(Op.SHRINK, 12)
                .with(Op.GROW, 2)
                .with(Op.FLUSH, 8)
                .with(Op.COMPRESS, seed % 5 < 2 ? 4 : 0);
      }
      default -> mix = mix.with(Op.GROW, 1).with(Op.SHRINK, 1);
    }
    if (version == 2) {
      bits = 16;
    }
    int discardUnit = List.of(0, 512, 512, 4096).get(random.nextInt(4));
    return new CrashSetup(
        kind,
        seed,
        lazy,
        cluster,
        bits,
        version,
        size,
        maxSize,
        cache,
        quarantine,
        mix,
        steps,
        threads,
        discardUnit,
        random.nextBoolean());
  }

  /** A disk with dirty bitmaps cannot be empty. */
  long minSize() {
    return kind == Kind.BITMAPS ? 512 : 0;
  }

  /** With less than FULL a power cut may do anything; a killed process may not. */
  SyncMode sync() {
    if (kind != Kind.KILLED) {
      return SyncMode.FULL;
    }
    return seed % 2 == 0 ? SyncMode.RELAXED : SyncMode.NONE;
  }

  boolean dataFile() {
    return kind == Kind.DATA_FILE
        || kind == Kind.DATA_FILE_RAW
        || kind == Kind.EXTENDED_L2_DATA_FILE
        || (kind == Kind.PREALLOCATING && (seed % 5 == 2 || seed % 5 == 3))
        || (kind == Kind.THREADS && version == 3 && seed % 3 == 0);
  }

  private boolean compresses() {
    return compressed() || kind == Kind.COMPRESSING;
  }

  /** Whether there is a backing image: growing over a longer one takes more than a new size. */
  private boolean backing() {
    return kind == Kind.BACKING
        || (kind == Kind.L1_GROWTH && seed % 2 == 0)
        || (kind == Kind.PREALLOCATING && seed % 5 < 2)
        || (kind == Kind.EXTENDED_L2 && seed % 5 < 2);
  }

  private boolean extendedL2() {
    return kind == Kind.EXTENDED_L2
        || kind == Kind.EXTENDED_L2_DATA_FILE
        || (kind == Kind.PREALLOCATING && (seed % 5 == 1 || seed % 5 == 4));
  }

  /** Whether there is an internal snapshot. */
  boolean snapshot() {
    return kind == Kind.SNAPSHOT || (kind == Kind.EXTENDED_L2 && seed % 5 == 2);
  }

  private boolean compressed() {
    return kind == Kind.COMPRESSED || (kind == Kind.EXTENDED_L2 && seed % 5 == 3);
  }

  private boolean rawDataFile() {
    return kind == Kind.DATA_FILE_RAW
        || (kind == Kind.PREALLOCATING && seed % 5 == 3)
        || (kind == Kind.EXTENDED_L2_DATA_FILE && seed % 2 == 0);
  }

  /** The bytes behind the overlay; empty without a backing image. */
  byte[] behind() {
    if (!backing()) {
      return new byte[0];
    }
    long length = size + (300 << 10);
    if (kind == Kind.L1_GROWTH) {
      length = 2 * MIB;
    } else if (seed % 2 == 0) {
      length = size / 2 + 512;
    }
    return Stamp.bytes(seed + 1, 0, (int) length, 1);
  }

  /** What the disk holds at the beginning. */
  byte[] content() {
    if (compressed() || snapshot() || kind == Kind.COMPACT) {
      return Stamp.bytes(seed + 2, 0, (int) size, 2);
    }
    // A refcount table of one cluster reaches 2 MiB far.
    return kind == Kind.REFCOUNT_GROWTH || kind == Kind.COMPACT_REFCOUNTS
        ? Stamp.bytes(seed + 2, 0, (int) (MIB * 7 / 4 + seed % 4 * (MIB / 24)), 2)
        : new byte[0];
  }

  /** Not by qemu-img, which measures the processor for a key and fails on a busy machine. */
  private CrashImage makeEncrypted(Path image) throws IOException {
    try (FileStorage storage = FileStorage.create(image, FileStorage.Options.readWrite());
        Secret secret = secret()) {
      Qcow2.create(
          storage,
          Qcow2CreateOptions.ofSize(size)
              .withClusterSize(clusterSize)
              .withVersion(version, refcountBits)
              .withLuks(LuksOptions.of(secret).withIterationMillis(0)),
          null,
          SyncMode.NONE);
    }
    return CrashImage.of(image);
  }

  /** Opens encrypted images. */
  static Secret secret() {
    return new Secret(PASSPHRASE.getBytes(StandardCharsets.UTF_8));
  }

  /** Has qemu-img make the image, with all that it names in the same folder. */
  CrashImage make(Path image, Path data, Path base) throws IOException, InterruptedException {
    Files.deleteIfExists(image);
    Files.deleteIfExists(data);
    if (kind == Kind.ENCRYPTED) {
      return makeEncrypted(image);
    }
    String options =
        "cluster_size=%d,refcount_bits=%d,compat=%s"
            .formatted(clusterSize, refcountBits, version == 2 ? "0.10" : "1.1");
    if (dataFile()) {
      options += ",data_file=" + data;
    }
    if (lazy) {
      options += ",lazy_refcounts=on";
    }
    if (extendedL2()) {
      options += ",extended_l2=on";
    }
    if (rawDataFile()) {
      options += ",data_file_raw=on";
    }
    if (compresses() && version == 3 && seed % 2 == 1) {
      options += ",compression_type=zstd";
    }
    if (content().length > 0) {
      Path raw = image.resolveSibling("content");
      Files.write(raw, Arrays.copyOf(content(), (int) size));
      List<Object> words = new ArrayList<>(List.of("convert", "-f", "raw", "-O", "qcow2"));
      if (compressed() || (kind == Kind.COMPACT && seed % 4 == 0)) {
        words.add("-c");
      }
      words.addAll(List.of("-o", options, raw, image));
      Qemu.img(words.toArray());
    } else {
      List<Object> words = new ArrayList<>(List.of("create", "-q", "-f", "qcow2", "-o", options));
      if (backing()) {
        Files.write(base, behind());
        words.addAll(List.of("-b", base, "-F", "raw"));
      }
      words.addAll(List.of(image, size));
      Qemu.img(words.toArray());
    }
    if (snapshot()) {
      Qemu.img("snapshot", "-c", "kept", image);
    }
    if (kind == Kind.BITMAPS) {
      long granularity = 512L << seed % 4 * 3;
      Qemu.img("bitmap", "--add", "-g", granularity, image, "all");
      Qemu.img("bitmap", "--add", "--disable", "-g", 4096, image, "frozen");
    }
    return CrashImage.of(image);
  }

  /** The kind to ask for to get this again. */
  Kind asked() {
    return lazy ? Kind.LAZY : kind;
  }

  @Override
  public String toString() {
    return "%s%s seed %d (clusters %d, refcount bits %d, v%d, caches %d)"
        .formatted(lazy ? "lazy " : "", kind, seed, clusterSize, refcountBits, version, cacheBytes);
  }
}
