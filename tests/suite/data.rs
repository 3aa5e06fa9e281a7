//! Every kind of data set, whole and broken, through `data::open` as users reach it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use data::{Background, Dataset, Fit, ImageShape, PictureSize, Progress, Reading, bundled, idx};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

fn open(path: &Path) -> Result<Dataset> {
    open_as(path, &Reading::default())
}

fn open_as(path: &Path, reading: &Reading) -> Result<Dataset> {
    data::open(path.to_str().expect("a UTF-8 path"), reading, &mut |_| Ok(()))
}

/// The error of opening `path`, in one line, with the path to the folder cut away.
fn error(path: &Path, folder: &TempDir) -> String {
    let error = match open(path) {
        Ok(dataset) => panic!("{} was opened", dataset.name),
        Err(error) => format!("{error:#}"),
    };
    assert!(!error.contains('\n'), "{error}");
    error.replace(&folder.path().display().to_string(), "DIR")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

mod idx_files {
    use super::*;

    const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
    const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
    const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
    const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

    fn header(kind: u8, dimensions: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, kind];
        dimensions.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes
    }

    fn images(n: u32) -> Vec<u8> {
        let mut bytes = header(3, &[n, 2, 3]);
        bytes.extend((0..n * 6).map(|at| at as u8));
        bytes
    }

    fn labels(labels: &[u8]) -> Vec<u8> {
        [header(1, &[labels.len() as u32]), labels.to_vec()].concat()
    }

    /// Three training and two test images of 2×3, three classes.
    fn good() -> TempDir {
        let folder = tempdir().unwrap();
        for (name, bytes) in [
            (TRAIN_IMAGES, images(3)),
            (TRAIN_LABELS, labels(&[2, 0, 1])),
            (TEST_IMAGES, images(2)),
            (TEST_LABELS, labels(&[1, 2])),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn error_with(name: &str, bytes: &[u8]) -> String {
        let folder = good();
        fs::write(folder.path().join(name), bytes).unwrap();
        error(folder.path(), &folder)
    }

    #[test]
    fn raw_files_are_read() {
        let folder = good();
        let dataset = open(folder.path()).unwrap();
        let shape = ImageShape {
            channels: 1,
            height: 2,
            width: 3,
        };
        assert_eq!(dataset.shape(), shape);
        assert_eq!(dataset.train.pixels, (0..18).collect::<Vec<u8>>());
        assert_eq!(dataset.train.labels, [2, 0, 1]);
        assert_eq!(dataset.test.labels, [1, 2]);
        assert_eq!(dataset.classes, ["0", "1", "2"]);
    }

    #[test]
    fn packed_files_give_the_same_data() {
        let folder = good();
        let raw = open(folder.path()).unwrap();
        for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
            let path = folder.path().join(name);
            let packed = gzip(&fs::read(&path).unwrap());
            fs::write(folder.path().join(format!("{name}.gz")), packed).unwrap();
            fs::remove_file(path).unwrap();
        }
        let packed = open(folder.path()).unwrap();
        assert_eq!(packed.checksum, raw.checksum);
        assert_eq!(packed.test, raw.test);
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = good();
        fs::remove_file(folder.path().join(TEST_LABELS)).unwrap();
        assert_eq!(
            error(folder.path(), &folder),
            "DIR: t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz expected, not found"
        );
    }

    #[test]
    fn a_file_cut_short_is_refused() {
        let bytes = images(3);
        assert_eq!(
            error_with(TRAIN_IMAGES, &bytes[..bytes.len() - 1]),
            "DIR/train-images-idx3-ubyte: its header promises 18 bytes, found 17"
        );
        assert_eq!(
            error_with(TRAIN_IMAGES, &bytes[..9]),
            "DIR/train-images-idx3-ubyte: ends within its header after 9 bytes, expected 12 or more"
        );
        assert_eq!(
            error_with(TEST_LABELS, &[]),
            "DIR/t10k-labels-idx1-ubyte: ends within its header after 0 bytes, expected 4 or more"
        );
    }

    #[test]
    fn a_file_with_bytes_to_spare_is_refused() {
        let mut bytes = images(2);
        bytes.push(0);
        assert_eq!(
            error_with(TEST_IMAGES, &bytes),
            "DIR/t10k-images-idx3-ubyte: its header promises 12 bytes, found 13"
        );
        assert_eq!(
            error_with(TEST_IMAGES, &gzip(&bytes)),
            "DIR/t10k-images-idx3-ubyte: its header promises 12 bytes, found more after them"
        );
    }

    #[test]
    fn a_packed_file_with_less_than_promised_is_refused() {
        let bytes = images(3);
        assert_eq!(
            error_with(TRAIN_IMAGES, &gzip(&bytes[..bytes.len() - 5])),
            "DIR/train-images-idx3-ubyte: its header promises 18 bytes, found 13: the file is cut short"
        );
    }

    #[test]
    fn a_packed_file_cut_short_is_refused_wherever_it_is_cut() {
        let packed = gzip(&images(3));
        for end in 2..packed.len() {
            let error = error_with(TRAIN_IMAGES, &packed[..end]);
            assert!(error.starts_with("DIR/train-images-idx3-ubyte: "), "{end}: {error}");
        }
    }

    #[test]
    fn a_packed_file_with_a_wrong_checksum_is_refused() {
        let mut packed = gzip(&images(3));
        let at = packed.len() - 6;
        packed[at] ^= 1;
        let error = error_with(TRAIN_IMAGES, &packed);
        let start = "DIR/train-images-idx3-ubyte: damaged after its 18 bytes of data";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn a_count_that_promises_too_much_is_refused_before_reading() {
        let huge = header(3, &[3, 4096, 4096]);
        assert_eq!(
            error_with(TRAIN_IMAGES, &huge),
            "DIR/train-images-idx3-ubyte: its header promises 50331648 bytes, found 0"
        );
        let error = error_with(TRAIN_IMAGES, &gzip(&huge));
        let start = "DIR/train-images-idx3-ubyte: its header promises 50331648 bytes, more than the packed \
                     file can hold (found at most ";
        assert!(error.starts_with(start), "{error}");
        assert_eq!(
            error_with(TRAIN_LABELS, &header(1, &[u32::MAX])),
            "DIR/train-labels-idx1-ubyte: its header promises 4294967295 bytes, found 0"
        );
        assert_eq!(
            error_with(TRAIN_IMAGES, &header(3, &[3, 0, 4097])),
            "DIR/train-images-idx3-ubyte: images of 0×4097 pixels, expected sides from 1 to 4096"
        );
    }

    #[test]
    fn files_of_the_wrong_kind_are_refused() {
        assert_eq!(
            error_with(TRAIN_LABELS, &images(3)),
            "DIR/train-labels-idx1-ubyte: starts with IDX images (00000803), expected IDX labels (00000801)"
        );
        assert_eq!(
            error_with(TEST_IMAGES, &gzip(&labels(&[1, 2]))),
            "DIR/t10k-images-idx3-ubyte: starts with IDX labels (00000801), expected IDX images (00000803)"
        );
        assert_eq!(
            error_with(TEST_IMAGES, b"\x89PNG...."),
            "DIR/t10k-images-idx3-ubyte: starts with 89504e47, expected IDX images (00000803)"
        );
    }

    #[test]
    fn files_that_do_not_fit_each_other_are_refused() {
        assert_eq!(
            error_with(TRAIN_LABELS, &labels(&[0, 1])),
            "DIR/train-labels-idx1-ubyte: 2 labels, expected 3, one for each image of DIR/train-images-idx3-ubyte"
        );
        assert_eq!(
            error_with(TEST_LABELS, &labels(&[1, 3])),
            "DIR/t10k-labels-idx1-ubyte: label 3 at position 1, expected less than 3 as in the training labels"
        );
        let wider = [header(3, &[2, 2, 4]), vec![0; 16]].concat();
        assert_eq!(
            error_with(TEST_IMAGES, &wider),
            "DIR/t10k-images-idx3-ubyte: images are 1×2×4, expected 1×2×3 like the training images"
        );
    }

    #[test]
    fn torchvisions_folder_and_the_names_of_emnist_are_found() {
        let folder = good();
        let plain = open(folder.path()).unwrap();
        let raw = folder.path().join("raw");
        fs::create_dir(&raw).unwrap();
        for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
            fs::rename(folder.path().join(name), raw.join(name)).unwrap();
        }
        assert_eq!(open(folder.path()).unwrap().checksum, plain.checksum);
        for set in ["emnist-letters", "emnist-digits"] {
            for name in [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS] {
                let name = name.replace("t10k", "test");
                let bytes = fs::read(raw.join(name.replace("test", "t10k"))).unwrap();
                fs::write(folder.path().join(format!("{set}-{name}.gz")), gzip(&bytes)).unwrap();
            }
            let named = open(&folder.path().join(set)).unwrap();
            assert_eq!((named.name.as_str(), named.checksum), (set, plain.checksum));
            if set == "emnist-letters" {
                assert_eq!(open(folder.path()).unwrap().checksum, plain.checksum);
            }
        }
        assert_eq!(
            error(folder.path(), &folder),
            "DIR: several data sets, expected one of them: DIR/emnist-digits, DIR/emnist-letters"
        );
    }

    #[test]
    fn labels_that_begin_at_one_are_said() {
        let folder = good();
        fs::write(folder.path().join(TRAIN_LABELS), labels(&[3, 1, 2])).unwrap();
        fs::write(folder.path().join(TEST_LABELS), labels(&[1, 2])).unwrap();
        let dataset = open(folder.path()).unwrap();
        assert_eq!(
            dataset.notes,
            ["labels begin at 1: class 0 has no images, and what it costs is wasted"]
        );
    }

    #[test]
    fn fashion_mnist_is_known_again_in_a_folder() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fashion-mnist");
        let dataset = open(&assets).unwrap();
        assert_eq!(dataset.checksum, bundled::CHECKSUM);
        assert_eq!(dataset.classes, bundled::CLASSES);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            dimensions: [u32; 3],
            with_header: bool,
            pack: bool,
        ) {
            let start = if with_header { header(3, &dimensions) } else { Vec::new() };
            let mut bytes = [start, bytes].concat();
            if pack {
                bytes = gzip(&bytes);
            }
            let n = dimensions[0];
            let claims = header(1, &[n]);
            let input = |name: &str, bytes: &'static [u8]| idx::Input {
                name: name.into(),
                bytes: bytes.len() as u64,
                reader: bytes,
            };
            // As images beside labels of three, as labels, and beside labels that promise the same huge count.
            let bytes: &'static [u8] = bytes.leak();
            let claims: &'static [u8] = claims.leak();
            let three: &'static [u8] = labels(&[0, 1, 2]).leak();
            for (images, labels) in [(bytes, three), (three, bytes), (bytes, bytes), (bytes, claims)] {
                if let Ok(read) = idx::read_pair(input("i", images), input("l", labels), &mut |_| Ok(())) {
                    prop_assert_eq!(read.pixels.len(), read.len() * read.shape.bytes());
                }
            }
        }
    }
}

mod cifar_files {
    use super::*;

    /// `n` records whose pixels are all `10 · file + at`.
    fn records(label_bytes: usize, file: u8, labels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, &label) in (0..).zip(labels) {
            bytes.extend(vec![19; label_bytes - 1]);
            bytes.push(label);
            bytes.extend([10 * file + at; 3072]);
        }
        bytes
    }

    type Files = Vec<(&'static str, Vec<u8>)>;

    /// In the order of the official archive, which is not that of the names.
    fn cifar10() -> Files {
        let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
        vec![
            ("data_batch_4.bin", records(1, 4, &[3])),
            ("readme.html", b"hello".to_vec()),
            ("test_batch.bin", records(1, 6, &[9, 8])),
            ("data_batch_3.bin", records(1, 3, &[2])),
            ("batches.meta.txt", names.into()),
            ("data_batch_2.bin", records(1, 2, &[1])),
            ("data_batch_5.bin", records(1, 5, &[4])),
            ("data_batch_1.bin", records(1, 1, &[5, 0])),
        ]
    }

    fn cifar100() -> Files {
        vec![
            ("train.bin", records(2, 1, &[99, 0, 50])),
            ("test.bin", records(2, 2, &[42])),
        ]
    }

    fn folder(files: &Files) -> TempDir {
        let folder = tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn tar(inside: &str, files: &Files) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            let path = format!("{inside}/{name}");
            tar.append_data(&mut header, path, &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn archive(bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("cifar.tar.gz");
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn replace(mut files: Files, name: &'static str, bytes: Vec<u8>) -> Files {
        files.retain(|(other, _)| *other != name);
        files.push((name, bytes));
        files
    }

    fn error_of(files: &Files) -> String {
        let folder = folder(files);
        error(folder.path(), &folder)
    }

    fn archive_error(bytes: &[u8]) -> String {
        let (folder, path) = archive(bytes);
        error(&path, &folder)
    }

    #[test]
    fn a_cifar10_folder_is_read_in_the_order_of_names() {
        let dataset = open(folder(&cifar10()).path()).unwrap();
        assert_eq!(dataset.name, "cifar-10");
        assert_eq!(
            dataset.shape(),
            ImageShape {
                channels: 3,
                height: 32,
                width: 32
            }
        );
        assert_eq!(dataset.train.labels, [5, 0, 1, 2, 3, 4]);
        let firsts: Vec<u8> = (0..6).map(|at| dataset.train.image(at)[3071]).collect();
        assert_eq!(firsts, [10, 11, 20, 30, 40, 50]);
        assert_eq!(dataset.test.labels, [9, 8]);
        assert_eq!((dataset.classes.len(), dataset.classes[9].as_str()), (10, "truck"));
        assert_eq!(dataset.notes, ["no training images of frog, horse, ship, truck"]);
    }

    #[test]
    fn an_archive_gives_the_same_data() {
        for files in [cifar10(), cifar100()] {
            let (_folder, path) = archive(&gzip(&tar("some-folder", &files)));
            let (packed, plain) = (open(&path).unwrap(), open(folder(&files).path()).unwrap());
            assert_eq!(packed.checksum, plain.checksum);
            assert_eq!(packed.classes, plain.classes);
        }
    }

    #[test]
    fn cifar100_takes_the_fine_label() {
        let dataset = open(folder(&cifar100()).path()).unwrap();
        assert_eq!(dataset.name, "cifar-100");
        assert_eq!(dataset.train.labels, [99, 0, 50]);
        assert_eq!(dataset.classes[99], "99");
    }

    #[test]
    fn missing_training_files_are_noted() {
        let mut files = cifar10();
        files.retain(|(name, _)| *name != "data_batch_4.bin");
        let dataset = open(folder(&files).path()).unwrap();
        assert_eq!(dataset.notes[0], "4 of the usual 5 training files were found");
    }

    #[test]
    fn a_missing_test_file_is_named() {
        let mut files = cifar10();
        files.retain(|(name, _)| *name != "test_batch.bin");
        assert_eq!(error_of(&files), "DIR: test_batch.bin expected, not found");
    }

    #[test]
    fn a_part_of_a_record_is_refused() {
        let mut bytes = records(1, 1, &[1, 2]);
        bytes.pop();
        assert_eq!(
            error_of(&replace(cifar10(), "data_batch_1.bin", bytes)),
            "DIR: data_batch_1.bin: 6145 bytes, expected a multiple of 3073 (1 label and 3072 pixel bytes a record)"
        );
        assert_eq!(
            error_of(&replace(cifar100(), "test.bin", Vec::new())),
            "DIR: test.bin: 0 bytes, expected a multiple of 3074 (2 label and 3072 pixel bytes a record)"
        );
    }

    #[test]
    fn a_label_without_a_class_is_refused() {
        assert_eq!(
            error_of(&replace(cifar10(), "test_batch.bin", records(1, 1, &[1, 10]))),
            "DIR: test_batch.bin: label 10 in record 1, expected less than 10"
        );
        assert_eq!(
            error_of(&replace(cifar100(), "train.bin", records(2, 1, &[100]))),
            "DIR: train.bin: label 100 in record 0, expected less than 100"
        );
    }

    #[test]
    fn class_names_must_be_as_many_as_classes() {
        assert_eq!(
            error_of(&replace(cifar10(), "batches.meta.txt", b"cat\ndog\n".to_vec())),
            "DIR: batches.meta.txt: 2 class names, expected 10"
        );
    }

    #[test]
    fn two_data_sets_in_one_place_are_refused() {
        let mixed = [cifar10(), cifar100()].concat();
        let error = error_of(&mixed);
        assert_eq!(
            error,
            "DIR: test.bin: belongs to cifar-100, expected files of cifar-10 only"
        );
    }

    #[test]
    fn an_archive_that_has_a_file_twice_is_refused() {
        let twice = [cifar10(), cifar10()].concat();
        assert_eq!(
            archive_error(&gzip(&tar("x", &twice))),
            "DIR/cifar.tar.gz: data_batch_4.bin: found twice, expected once"
        );
    }

    #[test]
    fn an_archive_cut_short_is_refused_wherever_it_is_cut() {
        let whole = gzip(&tar("x", &cifar100()));
        for end in 0..whole.len() {
            let error = archive_error(&whole[..end]);
            assert!(error.starts_with("DIR/cifar.tar.gz: "), "{end}: {error}");
        }
    }

    #[test]
    fn an_entry_that_promises_more_than_the_archive_holds_is_refused() {
        let tar = tar("x", &cifar10());
        assert_eq!(
            archive_error(&gzip(&tar[..512 + 1000])),
            "DIR/cifar.tar.gz: data_batch_4.bin: 1000 bytes, expected 3073: the file is cut short"
        );
    }

    #[test]
    fn the_python_version_and_other_archives_are_told_apart() {
        let python = vec![("data_batch_1", vec![0; 10])];
        assert_eq!(
            archive_error(&gzip(&tar("cifar-10-batches-py", &python))),
            "DIR/cifar.tar.gz: holds the Python version of CIFAR, expected the binary version (cifar-10-binary.tar.gz or \
             cifar-100-binary.tar.gz, from https://www.cs.toronto.edu/~kriz/cifar.html)"
        );
        assert_eq!(
            archive_error(&gzip(&tar("photos", &python))),
            "DIR/cifar.tar.gz: no CIFAR binary files, expected data_batch_1.bin or train.bin, and test_batch.bin \
             or test.bin"
        );
        let error = archive_error(b"no archive at all");
        let start = "DIR/cifar.tar.gz: cannot be read as .tar.gz, damaged or cut short";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn a_folder_of_the_python_version_is_told_what_to_get() {
        let python = vec![("data_batch_1", vec![0; 10]), ("batches.meta", vec![0; 10])];
        let inside = folder(&python);
        let error = error(inside.path(), &inside);
        assert!(
            error.starts_with("DIR: holds the Python version of CIFAR, expected the binary version ("),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3000), size: u64, pack: bool) {
            // A tar header of the right name and any size, then any bytes.
            let mut header = tar::Header::new_gnu();
            header.set_path("x/train.bin").unwrap();
            header.set_size(size);
            header.set_cksum();
            let entry = [header.as_bytes().to_vec(), bytes.clone()].concat();
            for content in [bytes, entry] {
                let content = if pack { gzip(&content) } else { content };
                let (_folder, path) = archive(&content);
                prop_assert!(open(&path).is_err());
            }
        }
    }
}

mod image_folders {
    use super::*;
    use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

    fn gray(width: u32, height: u32, value: u8) -> DynamicImage {
        GrayImage::from_pixel(width, height, Luma([value])).into()
    }

    fn save(folder: &TempDir, name: &str, picture: &DynamicImage) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(path).unwrap();
    }

    fn write(folder: &TempDir, name: &str, bytes: &[u8]) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Classes `ant` and `bee`; three training and two test pictures, gray, 4 wide and 2 high.
    fn good() -> TempDir {
        let folder = tempdir().unwrap();
        save(&folder, "train/bee/2.png", &gray(4, 2, 30));
        save(&folder, "train/bee/1.png", &gray(4, 2, 20));
        save(&folder, "train/ant/9.PNG", &gray(4, 2, 10));
        save(&folder, "test/ant/1.png", &gray(4, 2, 40));
        save(&folder, "test/bee/1.png", &gray(4, 2, 50));
        folder
    }

    #[test]
    fn classes_and_pictures_are_sorted_by_name() {
        let dataset = open(good().path()).unwrap();
        assert_eq!(dataset.classes, ["ant", "bee"]);
        assert_eq!(
            dataset.shape(),
            ImageShape {
                channels: 1,
                height: 2,
                width: 4
            }
        );
        assert_eq!(dataset.train.labels, [0, 1, 1]);
        assert_eq!(dataset.train.pixels, [[10; 8], [20; 8], [30; 8]].concat());
        assert_eq!(dataset.test.pixels, [[40; 8], [50; 8]].concat());
        assert!(dataset.notes.is_empty());
    }

    #[test]
    fn one_colored_picture_makes_all_rgb_in_planes() {
        let folder = good();
        let mut picture = RgbImage::from_pixel(4, 2, Rgb([1, 2, 3]));
        picture.put_pixel(3, 1, Rgb([7, 8, 9]));
        save(&folder, "test/bee/2.png", &picture.into());
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.shape().channels, 3);
        assert_eq!(dataset.train.image(0), [10; 24]);
        let planes = [1, 1, 1, 1, 1, 1, 1, 7, 2, 2, 2, 2, 2, 2, 2, 8, 3, 3, 3, 3, 3, 3, 3, 9];
        assert_eq!(dataset.test.image(2), planes);
    }

    #[test]
    fn every_format_is_decoded() {
        let folder = good();
        let picture = DynamicImage::from(RgbImage::from_pixel(4, 2, Rgb([90, 90, 90])));
        for name in ["3.jpg", "4.jpeg", "5.webp", "6.bmp", "7.GIF", "8.tif", "8.tiff"] {
            save(&folder, &format!("train/ant/{name}"), &picture);
        }
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.train.len(), 10);
        for at in 0..7 {
            let near = dataset.train.image(at).iter().all(|pixel| pixel.abs_diff(90) <= 2);
            assert!(near, "{at}: {:?}", dataset.train.image(at));
        }
    }

    /// As presets/README.md says: against what libjpeg-turbo made of the same files.
    #[test]
    fn jpeg_differs_from_libjpeg_turbo_by_what_is_said_and_png_not_at_all() {
        let pixels = |name: &str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
            let bytes = fs::read(file).expect("reads");
            let shape = ImageShape {
                channels: 3,
                height: 24,
                width: 32,
            };
            data::picture_from_bytes(&bytes, shape, &Reading::default()).expect("decodes")
        };
        for (name, most) in [("chroma444", 2), ("chroma420", 6)] {
            let (ours, theirs) = (pixels(&format!("{name}.jpg")), pixels(&format!("{name}.png")));
            let apart = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(apart.is_some_and(|apart| apart <= most), "{name}: {apart:?}");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/{name}.png"));
            let png = image::open(file).expect("opens").to_rgb8();
            let in_planes = (0..3).flat_map(|c| png.pixels().map(move |pixel| pixel[c]));
            assert!(in_planes.eq(theirs), "{name}.png");
        }
    }

    #[test]
    fn other_sizes_are_scaled_to_the_most_common_one_and_counted() {
        let folder = good();
        save(&folder, "train/ant/small.png", &gray(1, 1, 60));
        save(&folder, "test/ant/large.png", &gray(8, 8, 70));
        let dataset = open(folder.path()).unwrap();
        assert_eq!((dataset.shape().height, dataset.shape().width), (2, 4));
        assert_eq!(dataset.train.image(1), [60; 8]);
        assert_eq!(dataset.test.image(1), [70; 8]);
        let expected =
            "2 pictures scaled to 2×4, the most common size; what goes beyond is cut off (data.size, data.fit)";
        assert_eq!(dataset.notes, [expected]);
    }

    #[test]
    fn an_unreadable_picture_is_named_skipped_and_counted() {
        let folder = good();
        write(&folder, "train/ant/broken.jpg", b"\xff\xd8\xff nothing more");
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.train.labels, [0, 1, 1]);
        let [note] = &dataset.notes[..] else {
            panic!("{:?}", dataset.notes)
        };
        assert!(
            note.starts_with("1 picture skipped, unreadable: train/ant/broken.jpg ("),
            "{note}"
        );
    }

    #[test]
    fn a_picture_whose_pixels_are_damaged_is_skipped_too() {
        let folder = good();
        let path = folder.path().join("train/bee/1.png");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.train.pixels, [[10; 8], [30; 8]].concat());
        assert_eq!(dataset.train.labels, [0, 1]);
        assert!(dataset.notes[0].contains("train/bee/1.png"), "{:?}", dataset.notes);
    }

    #[test]
    fn a_picture_that_claims_a_huge_size_is_skipped() {
        let folder = good();
        let mut bytes = fs::read(folder.path().join("train/bee/1.png")).unwrap();
        bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        write(&folder, "train/bee/huge.png", &bytes);
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.train.len(), 3);
        assert!(dataset.notes[0].contains("train/bee/huge.png"), "{:?}", dataset.notes);
    }

    #[test]
    fn after_twenty_names_only_the_count_goes_on() {
        let folder = good();
        for at in 0..23 {
            write(&folder, &format!("train/ant/x{at:02}.png"), b"");
        }
        let dataset = open(folder.path()).unwrap();
        let note = &dataset.notes[0];
        assert!(
            note.starts_with("23 pictures skipped, unreadable: train/ant/x00.png ("),
            "{note}"
        );
        assert!(note.contains("x19.png") && !note.contains("x20.png"), "{note}");
        assert!(note.ends_with(", and 3 more"), "{note}");
    }

    #[test]
    fn other_files_are_counted_and_hidden_ones_are_not() {
        let folder = good();
        write(&folder, "train/ant/readme.txt", b"");
        write(&folder, "train/ant/.hidden.png", b"");
        write(&folder, "train/.cache/x", b"");
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.classes, ["ant", "bee"]);
        assert_eq!(
            dataset.notes,
            ["1 other entry passed over (.txt), not .png, .jpg, .webp, .bmp, .gif or .tif"]
        );
    }

    #[test]
    fn an_empty_class_is_named() {
        let folder = good();
        fs::create_dir(folder.path().join("train/cat")).unwrap();
        assert_eq!(
            error(folder.path(), &folder),
            "DIR/train/cat: class `cat` is empty, expected at least one .png, .jpg, .webp, .bmp, .gif or .tif"
        );
        save(&folder, "train/cat/1.png", &gray(4, 2, 0));
        assert_eq!(
            error(folder.path(), &folder),
            "DIR/test/cat: class `cat` is empty, expected at least one .png, .jpg, .webp, .bmp, .gif or .tif"
        );
        write(&folder, "test/cat/1.png", b"");
        let error = error(folder.path(), &folder);
        let start = "DIR/test/cat: class `cat` has no readable picture, expected at least one (1 picture skipped, \
                     unreadable: test/cat/1.png (";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn a_test_class_that_train_lacks_is_named() {
        let folder = good();
        save(&folder, "test/cat/1.png", &gray(4, 2, 0));
        assert_eq!(
            error(folder.path(), &folder),
            "DIR/test/cat: a class that `train` does not have, expected one of ant, bee"
        );
    }

    #[test]
    fn plain_pictures_are_read_where_classes_are_not_needed() {
        let unlabeled = |folder: &TempDir| {
            let path = folder.path().to_str().unwrap().to_owned();
            data::open_unlabeled(&path, &Reading::default(), &mut |_| Ok(())).unwrap()
        };
        let folder = tempdir().unwrap();
        for i in 0..10 {
            save(&folder, &format!("{i}.png"), &gray(4, 2, i));
        }
        let all = unlabeled(&folder);
        assert_eq!((all.is_labeled, all.train.len(), all.test.len()), (false, 8, 2));
        assert!(all.train.labels.iter().all(|&label| label == 0));
        assert!(error(folder.path(), &folder).contains("not a data set"));
        let folder = tempdir().unwrap();
        for name in ["train/1.png", "train/2.png", "test/1.png"] {
            save(&folder, name, &gray(4, 2, 0));
        }
        let all = unlabeled(&folder);
        assert_eq!((all.is_labeled, all.train.len(), all.test.len()), (false, 2, 1));
        assert!(unlabeled(&good()).is_labeled);
    }

    #[test]
    fn a_train_folder_without_classes_is_named() {
        let folder = tempdir().unwrap();
        write(&folder, "train/1.png", b"");
        write(&folder, "test/1.png", b"");
        assert_eq!(
            error(folder.path(), &folder),
            "DIR/train: no class folders, expected train/<class>/*.png, .jpg, .webp, .bmp, .gif or .tif"
        );
        let folder = good();
        fs::remove_dir_all(folder.path().join("test")).unwrap();
        write(&folder, "test/1.png", b"");
        assert_eq!(
            error(folder.path(), &folder),
            "DIR/test: no class folders, expected test/<class>/*.png, .jpg, .webp, .bmp, .gif or .tif"
        );
    }

    fn rename(folder: &TempDir, from: &str, to: &str) {
        fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
    }

    #[test]
    fn splits_may_be_called_otherwise() {
        let plain = open(good().path()).unwrap();
        for (train, test, note) in [
            ("Train", "Test", None),
            ("training", "testing", None),
            (
                "train",
                "val",
                Some("the pictures in `val` are the test images, there is no `test`"),
            ),
        ] {
            let folder = good();
            rename(&folder, "train", "x");
            rename(&folder, "x", train);
            rename(&folder, "test", "x");
            rename(&folder, "x", test);
            let dataset = open(folder.path()).unwrap();
            let notes: Vec<&str> = dataset.notes.iter().map(String::as_str).collect();
            assert_eq!((dataset.checksum, notes), (plain.checksum, note.into_iter().collect()));
        }
        let folder = good();
        save(&folder, "val/ant/1.png", &gray(4, 2, 90));
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.checksum, plain.checksum);
        assert!(
            dataset.notes[0].starts_with("the pictures in `val` are not used"),
            "{:?}",
            dataset.notes
        );
        save(&folder, "Train/ant/1.png", &gray(4, 2, 90));
        assert_eq!(
            error(folder.path(), &folder),
            "DIR: both `Train` and `train`, expected one of them"
        );
    }

    #[test]
    fn without_a_test_folder_some_of_each_class_are_kept_for_it() {
        let folder = tempdir().unwrap();
        for (class, n) in [("ant", 11), ("bee", 2)] {
            for at in 0..n {
                save(&folder, &format!("{class}/{at:02}.png"), &gray(4, 2, at));
            }
        }
        let flat = open(folder.path()).unwrap();
        assert_eq!(flat.classes, ["ant", "bee"]);
        assert_eq!((flat.train.len(), &flat.test.labels[..]), (10, &[0, 0, 1][..]));
        assert_eq!(
            (flat.test.image(0)[0], flat.test.image(1)[0], flat.test.image(2)[0]),
            (4, 9, 1)
        );
        let note = "there is no `test` folder: of each class, every 5th picture by name is kept for the test";
        assert_eq!(flat.notes, [note]);
        fs::create_dir(folder.path().join("train")).unwrap();
        rename(&folder, "ant", "train/ant");
        rename(&folder, "bee", "train/bee");
        let train = open(folder.path()).unwrap();
        assert_eq!((train.checksum, train.notes), (flat.checksum, flat.notes));
        fs::remove_file(folder.path().join("train/bee/00.png")).unwrap();
        let error = error(folder.path(), &folder);
        assert!(
            error.starts_with("DIR/train: one picture of `bee` and no `test` folder"),
            "{error}"
        );
    }

    #[test]
    fn pictures_may_lie_deeper_and_what_systems_leave_is_no_class() {
        let folder = good();
        let plain = open(folder.path()).unwrap();
        fs::create_dir_all(folder.path().join("train/bee/day/two")).unwrap();
        rename(&folder, "train/bee/2.png", "train/bee/day/two/2.png");
        write(&folder, "train/__MACOSX/bee/._1.png", b"\0\x05\x16\x07");
        let dataset = open(folder.path()).unwrap();
        assert_eq!((dataset.checksum, dataset.notes), (plain.checksum, vec![]));
    }

    #[test]
    fn a_data_set_one_folder_deeper_is_found_and_several_are_named() {
        let folder = good();
        let plain = open(folder.path()).unwrap();
        fs::create_dir(folder.path().join("photos")).unwrap();
        rename(&folder, "train", "photos/train");
        rename(&folder, "test", "photos/test");
        let dataset = open(folder.path()).unwrap();
        let photos = folder.path().join("photos").display().to_string();
        assert_eq!(dataset.checksum, plain.checksum);
        assert_eq!(dataset.notes, [format!("the images are those in {photos}")]);
        write(&folder, "raw/train-images-idx3-ubyte", b"");
        assert_eq!(
            error(folder.path(), &folder),
            "DIR: several data sets, expected one of them: DIR/photos, DIR/raw"
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_and_links_within_classes_do_no_harm() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let folder = good();
        let class = folder.path().join("train/ant");
        let name = OsStr::from_bytes(b"caf\xe9.png");
        if fs::copy(class.join("9.PNG"), class.join(name)).is_err() {
            return; // A file system that has no such names.
        }
        fs::write(class.join(OsStr::from_bytes(b"caf\xe9.txt")), "").unwrap();
        std::os::unix::fs::symlink(folder.path().join("train"), class.join("again")).unwrap();
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.train.labels, [0, 0, 1, 1]);
        assert_eq!(
            dataset.notes,
            ["2 other entries passed over (.txt), not .png, .jpg, .webp, .bmp, .gif or .tif"]
        );
    }

    #[test]
    fn one_odd_thumbnail_does_not_decide_the_size() {
        let folder = good();
        for (at, (width, height)) in [(40, 30), (44, 31), (52, 36), (60, 40)].into_iter().enumerate() {
            for class in ["ant", "bee"] {
                save(
                    &folder,
                    &format!("train/{class}/l{at}.png"),
                    &gray(width + at as u32, height, 9),
                );
            }
        }
        save(&folder, "train/ant/9.PNG", &gray(1, 1, 0));
        save(&folder, "train/bee/1.png", &gray(9, 7, 0));
        save(&folder, "train/bee/2.png", &gray(61, 41, 0));
        let dataset = open(folder.path()).unwrap();
        assert_eq!((dataset.shape().height, dataset.shape().width), (31, 45));
        assert!(
            dataset.notes[0].contains("31×45, the median height and width"),
            "{:?}",
            dataset.notes
        );
        let asked = Reading {
            size: PictureSize::Of(8, 6),
            fit: Fit::Stretch,
            ..Reading::default()
        };
        let dataset = open_as(folder.path(), &asked).unwrap();
        assert_eq!((dataset.shape().height, dataset.shape().width), (8, 6));
        let expected =
            "13 pictures scaled to 8×6, the size asked for; without regard to proportions (data.size, data.fit)";
        assert_eq!(dataset.notes, [expected]);
    }

    /// A picture with dark and light corners, so that turning it shows.
    fn corners(width: u32, height: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, y| Luma([(x * 8 + y * 60) as u8]))
    }

    /// TIFF metadata that say how a picture is turned.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        bytes.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    fn png_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(content);
        let len = (content.len() as u32).to_be_bytes();
        [&len[..], kind, content, &crc.sum().to_be_bytes()].concat()
    }

    fn encoded(picture: impl Into<DynamicImage>, format: image::ImageFormat) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn pictures_are_turned_as_their_exif_says() {
        let upright = corners(4, 2);
        // What a camera held on its side stores: 6 says, turn it right by a quarter.
        let lying = image::imageops::rotate270(&upright);
        let png = encoded(lying.clone(), image::ImageFormat::Png);
        let turned_png = [&png[..33], &png_chunk(b"eXIf", &exif(6)), &png[33..]].concat();
        let large = image::imageops::resize(&lying, 16, 32, image::imageops::FilterType::Nearest);
        let jpeg = encoded(large, image::ImageFormat::Jpeg);
        let content = [b"Exif\0\0".to_vec(), exif(6)].concat();
        let head = [0xff, 0xe1, 0, content.len() as u8 + 2];
        let turned_jpeg = [&jpeg[..2], &head, &content, &jpeg[2..]].concat();
        let folder = good();
        write(&folder, "train/ant/a.png", &turned_png);
        write(&folder, "train/ant/b.jpg", &turned_jpeg);
        let dataset = open(folder.path()).unwrap();
        assert_eq!(
            dataset.shape(),
            ImageShape {
                channels: 1,
                height: 2,
                width: 4
            }
        );
        assert_eq!(dataset.train.image(1), upright.as_raw());
        let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 10;
        assert!(
            dataset.train.image(2).iter().zip(upright.as_raw()).all(near),
            "{:?}",
            dataset.train.image(2)
        );
    }

    #[test]
    fn a_jpeg_that_is_cut_off_is_named_and_skipped() {
        let folder = good();
        let jpeg = encoded(corners(32, 4), image::ImageFormat::Jpeg);
        write(&folder, "train/ant/whole.jpg", &jpeg);
        write(&folder, "train/ant/cut.jpg", &jpeg[..jpeg.len() * 2 / 3]);
        write(&folder, "train/ant/last.jpg", &jpeg[..jpeg.len() - 2]);
        let dataset = open(folder.path()).unwrap();
        assert_eq!(dataset.train.len(), 4);
        let note = dataset.notes.iter().find(|note| note.contains("skipped")).unwrap();
        let expected = "2 pictures skipped, unreadable: train/ant/cut.jpg (cut off: a JPEG without its end mark), \
                        train/ant/last.jpg (cut off: a JPEG without its end mark)";
        assert_eq!(note, expected);
    }

    #[test]
    fn transparency_shows_the_background_and_is_said() {
        let folder = good();
        let shape = image::RgbaImage::from_fn(4, 2, |x, _| image::Rgba([255, 255, 255, (x * 85) as u8]));
        save(&folder, "train/ant/shape.png", &shape.into());
        let opaque = image::GrayAlphaImage::from_pixel(4, 2, image::LumaA([77, 255]));
        save(&folder, "train/bee/opaque.png", &opaque.into());
        for (background, row) in [
            (Background::Gray, [128, 170, 213, 255]),
            (Background::Black, [0, 85, 170, 255]),
            (Background::White, [255; 4]),
        ] {
            let reading = Reading {
                background,
                ..Reading::default()
            };
            let dataset = open_as(folder.path(), &reading).unwrap();
            assert_eq!(dataset.train.image(1)[..4], row);
            assert_eq!(dataset.train.image(4), [77; 24]);
            let name = format!("{background:?}").to_lowercase();
            let note = format!("1 picture with transparency laid on {name} (data.background)");
            assert_eq!(dataset.notes, [note]);
        }
    }

    #[test]
    fn pictures_of_sixteen_bits_that_do_not_use_them_are_scaled_alike() {
        let deep =
            |value: u16| -> DynamicImage { image::ImageBuffer::<Luma<u16>, _>::from_pixel(4, 2, Luma([value])).into() };
        let with = |values: [u16; 2]| {
            let folder = good();
            save(&folder, "train/ant/a.png", &deep(values[0]));
            save(&folder, "test/ant/b.png", &deep(values[1]));
            let dataset = open(folder.path()).unwrap();
            (dataset.train.image(1)[0], dataset.test.image(1)[0], dataset.notes)
        };
        let (a, b, notes) = with([50, 100]);
        assert_eq!((a, b), (100, 201));
        assert_eq!(
            notes,
            ["2 pictures of 16 bits whose values go up to 127 at most: that is read as white"]
        );
        let (a, b, _) = with([4095, 2048]);
        assert_eq!((a, b), (255, 128));
        let (a, b, notes) = with([65_535, 25_700]);
        assert_eq!((a, b, notes), (255, 100, vec![]));
    }

    #[test]
    fn other_endings_are_named_where_a_class_has_nothing_else() {
        let folder = good();
        write(&folder, "train/cat/1.heic", b"");
        write(&folder, "train/cat/2.JP2", b"");
        assert_eq!(
            error(folder.path(), &folder),
            "DIR/train/cat: class `cat` is empty, expected at least one .png, .jpg, .webp, .bmp, .gif or .tif; \
             found (.heic, .jp2)"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_as_a_picture_are_skipped(start in 0_usize..4, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let magic: [&[u8]; 4] = [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0", b"RIFF\xff\xff\xff\xffWEBPVP8L"];
            let folder = good();
            write(&folder, "train/ant/any.png", &[magic[start], &bytes].concat());
            let dataset = open(folder.path()).unwrap();
            let skipped = dataset.notes.iter().any(|note| note.contains("train/ant/any.png"));
            prop_assert_eq!(dataset.train.len(), if skipped { 3 } else { 4 });
        }
    }
}

#[test]
fn what_is_no_data_set_is_told_what_would_be() {
    let folder = tempdir().unwrap();
    let expected = "expected `fashion-mnist`, a folder of IDX files (train-images-idx3-ubyte, raw or .gz), a CIFAR binary \
                    folder (data_batch_1.bin or train.bin) or its .tar.gz, or a folder of images \
                    (train/<class>/*.png, .jpg, .webp, .bmp, .gif or .tif, and test)";
    assert_eq!(
        error(folder.path(), &folder),
        format!("DIR: not a data set, {expected}")
    );
    let file = folder.path().join("data.zip");
    fs::write(&file, "").unwrap();
    assert_eq!(
        error(&file, &folder),
        format!("DIR/data.zip: not a data set, {expected}")
    );
    let nowhere = folder.path().join("nowhere");
    assert_eq!(
        error(&nowhere, &folder),
        format!("DIR/nowhere: no such file or folder, {expected}")
    );
}

#[test]
fn progress_rises_to_one() {
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fashion-mnist");
    for source in [bundled::NAME, assets] {
        let mut fractions = Vec::new();
        data::open(source, &Reading::default(), &mut |progress: Progress| {
            fractions.push(progress.fraction);
            Ok(())
        })
        .unwrap();
        assert!(fractions.is_sorted(), "{fractions:?}");
        assert_eq!(fractions.last(), Some(&1.0));
    }
}

#[test]
fn the_caller_can_cancel() {
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fashion-mnist");
    let mut calls = 0;
    let error = data::open(assets, &Reading::default(), &mut |_| {
        calls += 1;
        if calls == 3 {
            bail!("canceled");
        }
        Ok(())
    })
    .unwrap_err();
    assert_eq!((error.to_string().as_str(), calls), ("canceled", 3));
}
