package dev.imago.interop.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The calls of CloudStack's QemuImg.java, and how it reads the answers. */
class CloudStackTest {
  @BeforeAll
  static void build() throws Exception {
    Lab.build();
  }

  /** Before it uses one it looks whether a qemu-img can do what it needs. */
  @Test
  void probesForFeatures() {
    String help = Answer.ofOurs("--help").out();

    assertThat(help).contains("--target-is-zero");
    assertThat(help).containsPattern("Supported\\sformats:[a-zA-Z0-9-_\\s]*?\\bqcow2\\b");
  }

  @Test
  void createsWithOptions() throws Exception {
    Wrapper.both(
        "create -f qcow2 @vol 1048576",
        "create -o preallocation=off,cluster_size=65536 -f qcow2 @vol2 1048576",
        "create -o preallocation=metadata -f qcow2 @vol3 1048576",
        "create -f raw @vol4 1048576",
        "create --object secret,id=sec0,data=passphrase -f qcow2 @vol5 1048576",
        // With a backing file -f is the backing file's format: a quirk of theirs.
        "create -f qcow2 -F qcow2 -b ^base.q @overlay");
  }

  @Test
  void convertsAnImageThatIsNamedByOptionsWithTheSecretBehindIt() throws Exception {
    Wrapper.both(
        "convert -O qcow2 -o cluster_size=65536 -o preallocation=off -U --image-opts"
            + " driver=qcow2,file.filename=@base.q --object secret,id=sec0,data=passphrase @copy",
        "convert -O raw -U --image-opts driver=qcow2,file.filename=@top.q @copy.raw",
        "convert -n --target-is-zero -W -O qcow2 @base.q @empty.q",
        "convert @base.q -O qcow2 -o cluster_size=64k,extended_l2=off,preallocation=off @lv",
        "resize @copy 8388608",
        "compare @base.q @empty.q");
  }

  @Test
  void readsTheTextOfInfo() throws Exception {
    List<Answer> ours = Wrapper.both("info -U @top.q", "info @base.q", "info -U @r.raw");

    assertThat(Wrapper.cloudStackInfo(ours.getFirst().out()))
        .containsEntry("file_format", "qcow2")
        .containsEntry("cluster_size", "65536")
        .containsEntry("backing_file_format", "qcow2")
        .containsKeys("image", "virtual_size", "backing_file")
        .hasEntrySatisfying("virtual_size", size -> assertThat(size).containsOnlyDigits());
  }

  @Test
  void deletesASnapshotThatMayBeGone() throws Exception {
    List<Answer> ours =
        Wrapper.both(
            "snapshot -c snap1 --image-opts driver=qcow2,file.filename=@base.q",
            "snapshot -d snap1 --image-opts driver=qcow2,file.filename=@base.q",
            "snapshot -d snap1 --image-opts driver=qcow2,file.filename=@base.q");

    assertThat(ours.getLast().err()).containsAnyOf("snapshot not found", "Can't find the snapshot");
  }

  @Test
  void toleratesLeaksAndReadsTheirJson() throws Exception {
    List<Answer> ours =
        Wrapper.both("check @leak.q --output=json", "check @leak.q -r leaks --output=json");

    assertThat(ours.getFirst().exit()).isEqualTo(3);
    assertThat(ours.getFirst().out()).contains("\"leaks\": ");
    assertThat(ours.getLast().exit()).isZero();
  }

  @Test
  void rebasesResizesCommitsAndKeepsBitmaps() throws Exception {
    Wrapper.both(
        "rebase -u -F qcow2 -b base.q @top.q",
        "resize @top.q +1048576",
        "resize --shrink @top.q 4194304",
        "commit -f qcow2 @top.q",
        "bitmap --add @base.q b0",
        "bitmap --remove @base.q b0");
  }
}
